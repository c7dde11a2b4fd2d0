import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { FlowView } from "@valetkey/api/FlowsApi"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Connections } from "@valetkey/domain/Connections"
import { failureSentence, type Flow, FlowId } from "@valetkey/domain/Flow"
import { type FlowOwner, Flows, type Ready, type Started } from "@valetkey/domain/Flows"
import { FlowNotFound } from "@valetkey/domain/FlowStore"
import { Servers } from "@valetkey/domain/Servers"
import { Duration, Effect, Option, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import * as Operations from "./Operations.ts"

const decodeId = Schema.decodeUnknownOption(FlowId)

/** The flow that a path names, if it is the caller's; the store sees no other. */
const ownerOf = Effect.fnUntraced(function*(text: string) {
  const { subject, tenant } = yield* CurrentPrincipal
  const id = decodeId(text)
  if (Option.isNone(id)) return yield* ApiProblem.fromError(new FlowNotFound())
  return { id: id.value, tenant, subject } satisfies FlowOwner
})

const openedView = (started: Exclude<Started, { readonly _tag: "AlreadyConnected" }>) => {
  switch (started._tag) {
    case "Joined":
      return { ...summaryOf(started.flow), joined: true } as const
    default:
      return readyView(started)
  }
}

const readyView = (ready: Ready) => {
  switch (ready._tag) {
    case "Offered":
      return { ...summaryOf(ready.flow), connectUrl: ready.connectUrl, compareCode: ready.compareCode }
    case "Started":
      return { ...summaryOf(ready.flow), authorizationUrl: ready.authorizationUrl }
    case "Verifying": {
      const { flow, userCode, verificationUri, verificationUriComplete } = ready
      return {
        ...summaryOf(flow),
        userCode,
        verificationUri,
        ...(verificationUriComplete === undefined ? {} : { verificationUriComplete })
      }
    }
  }
}

const summaryOf = (flow: Flow) => ({
  flowId: flow.id,
  status: flow.state,
  transport: flow.transport,
  handOffs: flow.handOffs,
  expiresAt: flow.expiresAt
})

/** Layer of the flow endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "flows",
  Effect.fnUntraced(function*(handlers) {
    const flows = yield* Flows
    const connections = yield* Connections
    const servers = yield* Servers
    const connectionView = Operations.makeView(connections, servers)
    const operations = yield* Operations.make

    const viewOf = Effect.fnUntraced(function*(flow: Flow) {
      const connection = flow.state === "completed" ? yield* Effect.option(connections.get(flow.key)) : Option.none()
      return {
        ...summaryOf(flow),
        server: flow.key.server,
        ...(flow.failure === undefined
          ? {}
          : { failure: { code: flow.failure, message: failureSentence[flow.failure] } }),
        ...(Option.isNone(connection) ? {} : { connection: yield* connectionView(connection.value) }),
        createdAt: flow.createdAt,
        ...(flow.settledAt === undefined ? {} : { settledAt: flow.settledAt })
      } satisfies FlowView
    })

    return handlers.handleAll({
      start: Effect.fnUntraced(function*({ payload }) {
        const started = yield* operations.start(payload)
        return started._tag === "AlreadyConnected"
          ? { alreadyConnected: true as const, connection: yield* connectionView(started.connection) }
          : openedView(started)
      }),
      status: Effect.fnUntraced(function*({ params, query }) {
        const owner = yield* ownerOf(params.flowId)
        const flow = query.wait === undefined || query.wait === 0
          ? flows.status(owner)
          : flows.wait(owner, Duration.seconds(query.wait))
        return yield* viewOf(yield* orProblem(flow))
      }),
      cancel: Effect.fnUntraced(function*({ params }) {
        yield* orProblem(flows.cancel(yield* ownerOf(params.flowId)))
      }),
      paste: Effect.fnUntraced(function*({ params, payload }) {
        const owner = yield* ownerOf(params.flowId)
        return yield* viewOf(yield* orProblem(flows.paste(owner, payload.url)))
      }),
      handOff: Effect.fnUntraced(function*({ params, payload }) {
        const owner = yield* ownerOf(params.flowId)
        return readyView(yield* orProblem(flows.handOff(owner, payload.transport)))
      }),
      finalize: Effect.fnUntraced(function*({ params, payload }) {
        const owner = yield* ownerOf(params.flowId)
        return yield* viewOf(yield* orProblem(flows.finalize(owner, payload.completionCode)))
      })
    })
  })
)
