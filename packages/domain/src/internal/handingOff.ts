import { Effect, Exit, Option } from "effect"
import * as Checkpoint from "../Checkpoint.ts"
import { backOf, type Flow, isTerminal, type TransportKind } from "../Flow.ts"
import type { FlowOwner } from "../Flows.ts"
import { FlowNotFound, FlowStore } from "../FlowStore.ts"
import { HandOffRefused } from "../HandOff.ts"
import { ServerNotFound, ServerStore } from "../ServerStore.ts"
import { makeAuditing } from "./auditing.ts"
import type { Listeners } from "./listeners.ts"
import type { Ways } from "./ways.ts"

/** Builds `Flows.handOff`: another way to the consent of a flow that runs. */
export const makeHandingOff = Effect.fnUntraced(function*(listeners: Listeners, ways: Ways) {
  const flows = yield* FlowStore
  const servers = yield* ServerStore
  const audit = yield* makeAuditing

  const find = Effect.fnUntraced(function*(owner: FlowOwner) {
    const found = yield* flows.get(owner)
    return Option.isNone(found) ? yield* new FlowNotFound() : found.value
  })

  const handOff = Effect.fn("Flows.handOff")(function*(owner: FlowOwner, kind: TransportKind) {
    yield* Effect.annotateCurrentSpan({ "valetkey.flow": owner.id })
    const flow = yield* find(owner)
    const scopes = yield* scopesOf(flow)
    const { handOffs, key } = flow
    const server = yield* servers.get(key.tenant, key.server)
    if (Option.isNone(server)) return yield* new ServerNotFound()
    const transport = yield* ways.transport(kind, flow.confirmation)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const { adopt, discard, scope } = transport.stateless === true
          ? { adopt: listeners.close(flow.id), discard: Effect.void, scope: undefined }
          : yield* listeners.prepare(flow)
        const way = yield* restore(Effect.gen(function*() {
          // The person was told of these scopes: another way asks for nothing else.
          const destination = { ...flow, server: server.value, scopes, returnTo: undefined, back: backOf(flow) }
          const way = yield* ways.open(destination, transport, scope)
          yield* Checkpoint.reach("flow.handing_off")
          return way
        })).pipe(
          Effect.tap((way) =>
            Effect.flatMap(
              flows.handOff(flow.id, { handOffs, transport: transport.kind }, way.frozen, way.ticket),
              (moved) => moved ? Effect.void : Effect.fail(new HandOffRefused({ code: "handoff_late" }))
            )
          ),
          Effect.onExit((exit) => Exit.isSuccess(exit) ? adopt : discard)
        )
        yield* audit(key, "flow.handed_off", transport.kind)
        const now = yield* find(owner)
        // The number of this way, also where another has taken its place already.
        if (!isTerminal(now.state)) return way.ready({ ...now, handOffs: handOffs + 1 })
        // Whoever ended it meanwhile closed what was open before.
        yield* listeners.close(flow.id)
        return yield* new HandOffRefused({ code: "handoff_late" })
      })
    )
  })

  return { handOff }
})

/** The scopes of a flow that may be handed off: it waits for a consent, and for nobody's browser. */
const scopesOf = ({ confirmation, snapshot, state }: Flow): Effect.Effect<ReadonlyArray<string>, HandOffRefused> => {
  const refused = (code: HandOffRefused["code"]) => Effect.fail(new HandOffRefused({ code }))
  if (state !== "pending") return refused("handoff_late")
  if (confirmation !== "none") return refused("handoff_unexpected")
  return snapshot === undefined ? refused("handoff_early") : Effect.succeed(snapshot.scopes)
}
