import { DateTime, Duration, Effect, Exit, Option } from "effect"
import * as Checkpoint from "../Checkpoint.ts"
import type { ConnectionKey } from "../Connection.ts"
import { coversScopes, isFresh } from "../Credentials.ts"
import { Entropy } from "../Entropy.ts"
import { ReturnUrlError } from "../Finalization.ts"
import { type Flow, FlowId, isDevice } from "../Flow.ts"
import type { Started, StartOptions } from "../Flows.ts"
import { FlowPreempted, FlowStore } from "../FlowStore.ts"
import { ServerNotFound, ServerStore } from "../ServerStore.ts"
import { flowTopic, Signals } from "../Signals.ts"
import { makeAuditing } from "./auditing.ts"
import type { Listeners } from "./listeners.ts"
import { makeOwnRows } from "./ownRow.ts"
import { makeUnattended } from "./unattended.ts"
import type { Destination, Transport, Ways } from "./ways.ts"

/** Builds `Flows.start`. */
export const makeStarter = Effect.fnUntraced(function*(options: {
  readonly ttl: Duration.Duration
  readonly listeners: Listeners
  readonly ways: Ways
  /** What `returnTo` may be, to the letter. */
  readonly returnUrls: ReadonlyArray<string>
}) {
  const { listeners, returnUrls, ttl, ways } = options
  const servers = yield* ServerStore
  const flows = yield* FlowStore
  const connections = yield* makeOwnRows
  const entropy = yield* Entropy
  const signals = yield* Signals
  const audit = yield* makeAuditing
  const prepareUnattended = yield* makeUnattended

  const start = Effect.fn("Flows.start")(function*(key: ConnectionKey, choice: StartOptions = {}) {
    yield* Effect.annotateCurrentSpan({ "valetkey.tenant": key.tenant, "valetkey.server": key.server })
    const refused = refuseReturn(choice, returnUrls)
    if (refused !== undefined) return yield* refused
    const server = yield* servers.get(key.tenant, key.server)
    if (Option.isNone(server)) return yield* new ServerNotFound()
    if (server.value.grant !== undefined) {
      const connection = yield* prepareUnattended(key, server.value, server.value.grant, choice.scopes)
      return { _tag: "AlreadyConnected", connection } satisfies Started
    }
    const connected = yield* connectedAlready(key, choice)
    if (connected !== undefined) return connected
    const transport = yield* ways.transport(choice.transport, choice.confirmation ?? "none")
    const confirmation = choice.confirmation ?? "none"
    const { back, returnTo, scopes } = choice
    const id = FlowId.make(yield* entropy.id)
    const destination: Destination = { id, key, server: server.value, confirmation, scopes, returnTo, back }
    const foreseen = yield* ways.foresee(destination, transport)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const reservation = yield* flows.reserve({
          id,
          key,
          transport: transport.kind,
          confirmation,
          onConflict: choice.onConflict ?? "reject",
          ttl,
          frozen: foreseen && { authorization: foreseen.frozen, ticket: foreseen.ticket }
          // Whoever does not hear the store's answer may hold the slot all the same.
        }).pipe(Effect.tapErrorTag("StoreError", () => undo(id)))
        if (reservation._tag === "Joined") return { _tag: "Joined", flow: reservation.flow } satisfies Started
        const { flow, superseded } = reservation
        if (superseded !== undefined) {
          yield* audit(key, "flow.settled", "superseded")
          yield* settledElsewhere(superseded)
        }
        return yield* restore(Effect.gen(function*() {
          yield* Checkpoint.reach("flow.reserved")
          const ready = foreseen?.ready(flow) ?? (yield* prepare(flow, destination, transport))
          yield* audit(key, "flow.started", flow.transport)
          return ready
        })).pipe(Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : undo(id)))
      })
    )
  })

  const connectedAlready = Effect.fnUntraced(function*(key: ConnectionKey, choice: StartOptions) {
    if (choice.reauthorize === true) return undefined
    const found = yield* connections.get(key)
    if (Option.isNone(found)) return undefined
    const { credentials, rejected, status } = found.value
    // Without a refresh token an expired or rejected one is the end of it: only the person can help.
    const usable = credentials.refreshToken !== undefined ||
      !rejected && isFresh(credentials, Duration.zero, yield* DateTime.now)
    return status._tag === "active" && usable && coversScopes(credentials.scopes, choice.scopes ?? [])
      ? { _tag: "AlreadyConnected", connection: found.value } satisfies Started
      : undefined
  })

  const settledElsewhere = (id: FlowId) => Effect.andThen(listeners.close(id), signals.notify(flowTopic(id)))

  const undo = (id: FlowId) =>
    flows.abandon(id).pipe(
      Effect.catchCause((cause) => Effect.logError("flow not abandoned; it expires by itself", cause)),
      Effect.andThen(settledElsewhere(id))
    )

  /** Everything between the reservation and what is handed out; the scope of what it opens ends with `undo` or the flow. */
  const prepare = Effect.fnUntraced(function*(flow: Flow, destination: Destination, transport: Transport) {
    const scope = transport.stateless === true ? undefined : yield* listeners.open(flow)
    const way = yield* ways.open(destination, transport, scope)
    if (!(yield* flows.freeze(flow.id, way.frozen, way.ticket))) return yield* new FlowPreempted({ id: flow.id })
    // A device code may end before the flow would.
    return way.ready(isDevice(way.frozen) ? yield* current(flow) : flow)
  })

  const current = (flow: Flow) =>
    Effect.flatMap(
      flows.get({ id: flow.id, tenant: flow.key.tenant, subject: flow.key.subject }),
      Option.match({
        onNone: () => Effect.fail(new FlowPreempted({ id: flow.id })),
        onSome: Effect.succeed
      })
    )

  return { start }
})

/** A browser is sent nowhere but to a URL that the operator registered, and only where an application waits for it. */
const refuseReturn = (
  { confirmation, returnTo }: StartOptions,
  returnUrls: ReadonlyArray<string>
): ReturnUrlError | undefined => {
  if (confirmation !== "finalize") {
    return returnTo === undefined ? undefined : new ReturnUrlError({ code: "return_url_unexpected" })
  }
  if (returnTo === undefined) return new ReturnUrlError({ code: "return_url_missing" })
  return returnUrls.includes(returnTo) ? undefined : new ReturnUrlError({ code: "return_url_unregistered" })
}
