import { type CallbackReceived, CallbackRejected } from "@valetkey/domain/Authorization"
import type { OpenRequest } from "@valetkey/domain/CallbackTransport"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Digest } from "@valetkey/domain/Entropy"
import { type Flow, type FlowFailure, FlowId, type FlowState } from "@valetkey/domain/Flow"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Deferred, Effect, Latch, Redacted } from "effect"

const flowId = FlowId.make("019ab000-0000-7000-8000-000000000001")

/** A flow as far as a transport sees it: it knows one state and settles when the test says so. */
export interface ScriptedFlow {
  readonly request: OpenRequest
  /** Every response that was handed over, right or wrong. */
  readonly delivered: Array<CallbackReceived>
  /** Opens when the right state was delivered. */
  readonly claimed: Effect.Effect<void>
  settle(state: FlowState, failure?: FlowFailure): Effect.Effect<void>
}

/** The only state that the flow accepts, once. */
export const rightState = "right-state-0123456789abcdefghijklmnopqrstu"

const receipt = Digest.make("A".repeat(43))

/** Makes a pending flow; with `onward` one that its application has to confirm. */
export const pending = (preferred?: string, onward?: Redacted.Redacted): Effect.Effect<ScriptedFlow> =>
  Effect.gen(function*() {
    const settled = yield* Deferred.make<Flow>()
    const claimed = yield* Latch.make()
    const delivered: Array<CallbackReceived> = []
    return {
      delivered,
      claimed: claimed.await,
      settle: (state, failure) => Effect.asVoid(Deferred.succeed(settled, flow(state, failure))),
      request: {
        flowId,
        context: "context",
        preferred,
        deliver: (received) =>
          Effect.suspend(() => {
            delivered.push(received)
            return Redacted.value(received.state) === rightState
              ? Effect.as(claimed.open, { flowId, receipt, onward, settled: Deferred.await(settled) })
              : Effect.fail(new CallbackRejected({ code: "callback_unknown" }))
          })
      }
    }
  })

const flow = (state: FlowState, failure: FlowFailure | undefined): Flow => ({
  id: flowId,
  key: new ConnectionKey({
    tenant: TenantId.make("acme"),
    subject: SubjectId.make("ada"),
    server: ServerSlug.make("notes")
  }),
  state,
  failure,
  transport: "loopback",
  handOffs: 0,
  confirmation: "none",
  createdAt: DateTime.makeUnsafe(0),
  expiresAt: DateTime.makeUnsafe(600_000)
})
