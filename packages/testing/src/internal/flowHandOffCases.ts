import { assert, describe, type Vitest } from "@effect/vitest"
import { DevicePolls } from "@valetkey/domain/DevicePolls"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Duration, Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` that put another way to the consent in place of the frozen one. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<DevicePolls | FlowStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  const loopback = Effect.fnUntraced(function*() {
    const flows = yield* FlowStore
    const key = Fixture.newKey()
    const { flow } = yield* Fixture.reserve(key, "reject", "loopback")
    const authorization = Fixture.newAuthorization({ bindingHash: undefined })
    assert.isTrue(yield* flows.freeze(flow.id, authorization))
    const owner = { id: flow.id, ...Fixture.ownerOf(key) }
    return { id: flow.id, key, owner, authorization, read: Effect.map(flows.get(owner), Option.getOrThrow) }
  })

  describe("hand-off", () => {
    it.effect("keeps id, slot and deadline, and lets nothing of the former way match", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { authorization, id, key, read } = yield* loopback()
        const before = yield* read
        const next = Fixture.newAuthorization({ bindingHash: undefined })
        const ticket = { ticketHash: Fixture.newDigest(), authorizationUrl: Fixture.newSealed() }
        assert.isTrue(yield* flows.handOff(id, { handOffs: 0, transport: "gateway" }, next, ticket))
        const after = yield* read
        assert.deepStrictEqual(Fixture.flowView(after), {
          ...Fixture.flowView(before),
          transport: "gateway",
          handOffs: 1,
          snapshot: next.snapshot
        })
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        assert.isTrue(Option.isNone(yield* flows.findByState(authorization.stateHash)))
        const error = yield* Effect.flip(Fixture.reserve(key))
        assert.strictEqual(error._tag === "FlowConflict" && error.running, id)

        const again = Fixture.newAuthorization({ bindingHash: undefined })
        assert.isTrue(yield* flows.handOff(id, { handOffs: 1, transport: "loopback" }, again))
        const within = { ticketHash: ticket.ticketHash, within: Fixture.ticketLife }
        assert.isTrue(Option.isNone(yield* flows.findByTicket(within)))
        assert.isTrue(Option.isNone(yield* flows.bind({ ...within, bindingHash: Fixture.newDigest() })))
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(next)))
        const claimed = Option.getOrThrow(yield* Fixture.claimFlow(again))
        assert.deepStrictEqual(
          Fixture.authorizationView(claimed.authorization),
          Fixture.authorizationView(again)
        )
        assert.strictEqual(claimed.transport, "loopback")
      }))

    it.effect("continues with a device and back, and voids a poll that is under way", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const polls = yield* DevicePolls
        const { authorization, id, read } = yield* loopback()
        const take = Effect.map(
          polls.take({ limit: 1000, lease: Fixture.lease }),
          (taken) => Option.fromUndefinedOr(taken.find((poll) => poll.id === id))
        )
        const device = Fixture.newDevice()
        assert.isTrue(yield* flows.handOff(id, { handOffs: 0, transport: "device" }, device))
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        yield* options.advance(Fixture.pollInterval)
        const first = Option.getOrThrow(yield* take)
        assert.strictEqual(Fixture.hex(first.deviceCode), Fixture.hex(device.deviceCode))

        const other = Fixture.newDevice()
        assert.isTrue(yield* flows.handOff(id, { handOffs: 1, transport: "device" }, other))
        const next = { after: Duration.zero, interval: Fixture.pollInterval, failures: 0, doubtful: false }
        assert.isFalse(yield* polls.again(id, first.fence, next))
        assert.isFalse(yield* polls.end(id, first.fence, "access_denied"))
        assert.isTrue(Option.isNone(yield* polls.accept(first, Fixture.lease)))
        assert.isTrue(Option.isNone(yield* take))
        yield* options.advance(Fixture.pollInterval)
        const second = Option.getOrThrow(yield* take)
        assert.strictEqual(Fixture.hex(second.deviceCode), Fixture.hex(other.deviceCode))
        assert.deepStrictEqual([second.handOffs, second.doubtful, second.failures], [2, false, 0])

        const back = Fixture.newAuthorization({ bindingHash: undefined })
        assert.isTrue(yield* flows.handOff(id, { handOffs: 2, transport: "loopback" }, back))
        assert.isTrue(Option.isNone(yield* polls.accept(second, Fixture.lease)))
        yield* options.advance(Fixture.pastLease)
        assert.isTrue(Option.isNone(yield* take))
        assert.strictEqual((yield* read).state, "pending")
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow(back)))
      }))

    it.effect("gives the flow to one of twenty concurrent hand-offs", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { id, read } = yield* loopback()
        const ways = Array.from({ length: 20 }, () => Fixture.newAuthorization({ bindingHash: undefined }))
        const all = yield* Effect.all(
          ways.map((way) => flows.handOff(id, { handOffs: 0, transport: "loopback" }, way)),
          { concurrency: "unbounded" }
        )
        const won = ways.filter((_, index) => all[index])
        assert.strictEqual(won.length, 1)
        assert.strictEqual((yield* read).handOffs, 1)
        for (const way of ways.filter((way) => way !== won[0])) {
          assert.isTrue(Option.isNone(yield* Fixture.claimFlow(way)))
        }
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow(won[0]!)))
      }))

    it.effect("takes a flow from its callback or from its cancel, or loses it to them: never both", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        for (let round = 0; round < 20; round++) {
          const rival = round % 2 === 0 ? "callback" : "cancel"
          const { authorization, id, owner, read } = yield* loopback()
          const next = Fixture.newAuthorization({ bindingHash: undefined })
          const [moved, taken] = yield* Effect.all([
            flows.handOff(id, { handOffs: 0, transport: "loopback" }, next),
            rival === "callback" ? Effect.map(Fixture.claimFlow(authorization), Option.isSome) : flows.cancel(owner)
          ], { concurrency: "unbounded" })
          // A cancel may come after the hand-off too: then it cancels what was handed off.
          assert.isTrue(rival === "callback" ? moved !== taken : taken)
          const { state } = yield* read
          assert.strictEqual(state, rival === "cancel" ? "cancelled" : moved ? "pending" : "exchanging")
          const claimed = Option.isSome(yield* Fixture.claimFlow(next))
          assert.strictEqual(claimed, rival === "callback" && moved)
        }
      }))

    it.effect("leaves alone what is not frozen, is exchanged, is over or is past its deadline", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { flow: starting } = yield* Fixture.reserve(Fixture.newKey(), "reject", "loopback")
        const exchanging = yield* loopback()
        yield* Fixture.claimFlow(exchanging.authorization)
        const cancelled = yield* loopback()
        yield* flows.cancel(cancelled.owner)
        const late = yield* loopback()
        const to = { handOffs: 0, transport: "device" } as const
        for (const id of [starting.id, exchanging.id, cancelled.id, Fixture.newFlowId()]) {
          assert.isFalse(yield* flows.handOff(id, to, Fixture.newDevice()))
        }
        assert.strictEqual((yield* exchanging.read).transport, "loopback")
        yield* options.advance(Fixture.pastTtl)
        assert.isFalse(yield* flows.handOff(late.id, to, Fixture.newDevice()))
        assert.strictEqual((yield* late.read).state, "expired")
      }))
  })
}
