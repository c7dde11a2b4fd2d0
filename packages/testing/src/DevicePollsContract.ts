import { assert, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { DevicePolls } from "@valetkey/domain/DevicePolls"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { DateTime, Duration, Effect, Option } from "effect"
import * as Fixture from "./internal/contractFixtures.ts"

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | DevicePolls | FlowStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  it.effect("EXT-01 takes a flow when its interval is over and not before, with everything that was frozen", () =>
    Effect.gen(function*() {
      const { device, id, key, read, take } = yield* Fixture.deviceFlow(Fixture.newKey())
      assert.isTrue(Option.isNone(yield* take))
      yield* options.advance(Fixture.pollInterval)
      const poll = Option.getOrThrow(yield* take)
      assert.deepStrictEqual(Fixture.pollView(poll), {
        id,
        key: key.path,
        fence: poll.fence,
        handOffs: 0,
        grant: device.grant,
        snapshot: device.snapshot,
        deviceCode: Fixture.hex(device.deviceCode),
        clientSecret: Fixture.hex(device.clientSecret!),
        interval: Duration.toMillis(device.interval),
        failures: 0,
        doubtful: false
      })
      const flow = yield* read
      assert.deepStrictEqual([flow.state, flow.transport, flow.snapshot], ["pending", "device", device.snapshot])
    }))

  it.effect("EXT-01 gives a due flow to one of twenty concurrent takers, and to another when that one's lease is over", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const { id, take } = yield* Fixture.deviceFlow(Fixture.newKey())
      yield* options.advance(Fixture.pollInterval)
      const all = yield* Effect.all(Array.from({ length: 20 }, () => take), { concurrency: "unbounded" })
      const [first, ...rest] = all.flatMap(Option.toArray)
      assert.deepStrictEqual(rest, [])
      assert.isTrue(Option.isNone(yield* take))
      yield* options.advance(Fixture.lease)
      const second = Option.getOrThrow(yield* take)
      assert.isAbove(second.fence, first!.fence)
      // Nobody knows what became of the first poll.
      assert.deepStrictEqual([first!.doubtful, second.doubtful], [false, true])
      const next = { after: Duration.zero, interval: Fixture.pollInterval, failures: 0, doubtful: false }
      assert.isFalse(yield* polls.again(id, first!.fence, next))
      assert.isFalse(yield* polls.end(id, first!.fence, "access_denied"))
      assert.isTrue(Option.isNone(yield* take))
      assert.isTrue(yield* polls.again(id, second.fence, next))
      assert.isTrue(Option.isSome(yield* take))
    }))

  it.effect("EXT-01 keeps what a report says, whoever takes the flow next", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const { id, take } = yield* Fixture.deviceFlow(Fixture.newKey())
      yield* options.advance(Fixture.pollInterval)
      const { fence } = Option.getOrThrow(yield* take)
      const interval = Duration.seconds(10)
      assert.isTrue(yield* polls.again(id, fence, { after: interval, interval, failures: 3, doubtful: false }))
      yield* options.advance(Fixture.pollInterval)
      assert.isTrue(Option.isNone(yield* take))
      yield* options.advance(Fixture.pollInterval)
      const next = Option.getOrThrow(yield* take)
      assert.deepStrictEqual(
        [Duration.toSeconds(next.interval), next.failures, next.doubtful],
        [10, 3, false]
      )
    }))

  it.effect("EXT-01 takes the longest due first, and no more than it was asked for", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const late = yield* Fixture.deviceFlow(Fixture.newKey(), { interval: Duration.seconds(2) })
      const early = yield* Fixture.deviceFlow(Fixture.newKey(), { interval: Duration.seconds(1) })
      yield* options.advance(Duration.minutes(4))
      const order = new Array<string>()
      for (let taken = 0; !order.includes(late.id) && taken < 1000; taken++) {
        const batch = yield* polls.take({ limit: 1, lease: Fixture.lease })
        assert.strictEqual(batch.length, 1)
        order.push(...batch.map(({ id }) => id))
      }
      assert.isBelow(order.indexOf(early.id), order.indexOf(late.id))
      assert.include(order, early.id)
    }))

  it.effect("says how long until somebody is due", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      yield* polls.take({ limit: 1000, lease: Fixture.lease })
      const { take } = yield* Fixture.deviceFlow(Fixture.newKey(), { interval: Duration.seconds(1) })
      const before = Option.getOrThrow(yield* polls.nextDue)
      assert.isAtMost(Duration.toMillis(before), 1000)
      yield* options.advance(Duration.seconds(1))
      assert.strictEqual(Duration.toMillis(Option.getOrThrow(yield* polls.nextDue)), 0)
      yield* take
      assert.isAbove(Duration.toMillis(Option.getOrThrow(yield* polls.nextDue)), 0)
    }))

  it.effect("EXT-01 accepts what was granted for the code, also after another poll of it, and stores it with the flow", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const flows = yield* FlowStore
      const { id, key, read, take } = yield* Fixture.deviceFlow(Fixture.newKey())
      yield* options.advance(Fixture.pollInterval)
      const first = Option.getOrThrow(yield* take)
      yield* options.advance(Fixture.lease)
      const second = Option.getOrThrow(yield* take)
      const fence = Option.getOrThrow(yield* polls.accept(first, Fixture.lease))
      assert.isAbove(fence, second.fence)
      // The answer may have been lost. Another poll's grant belongs nowhere, although the code is the same.
      assert.strictEqual(Option.getOrThrow(yield* polls.accept(first, Fixture.lease)), fence)
      assert.isTrue(Option.isNone(yield* polls.accept(second, Fixture.lease)))
      assert.isFalse(yield* polls.end(id, second.fence, "code_rejected"))
      assert.strictEqual((yield* read).state, "exchanging")
      yield* options.advance(Fixture.pollInterval)
      assert.isTrue(Option.isNone(yield* take))
      assert.strictEqual((yield* flows.complete(id, second.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
      assert.strictEqual((yield* flows.complete(id, fence, Fixture.newWrite(0)))._tag, "Completed")
      assert.isTrue(Option.isNone(yield* polls.accept(first, Fixture.lease)))
      assert.strictEqual((yield* read).state, "completed")
      assert.isTrue(Option.isSome(yield* (yield* ConnectionStore).get(key)))
    }))

  it.effect("EXT-01 settles what was granted and never stored as an unknown outcome", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const flows = yield* FlowStore
      const { id, read } = yield* Fixture.deviceFlow(Fixture.newKey())
      Option.getOrThrow(yield* polls.accept({ id, fence: 0, handOffs: 0 }, Fixture.lease))
      yield* options.advance(Fixture.pastLease)
      yield* flows.sweep({ retention: Duration.days(1), limit: 1000 })
      assert.strictEqual((yield* read).state, "outcome_unknown")
    }))

  it.effect("EXT-01 polls nobody for a flow that was cancelled, superseded or abandoned, and takes no report of it", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const flows = yield* FlowStore
      const endings = {
        cancelled: ({ owner }) => Effect.asVoid(flows.cancel(owner)),
        superseded: ({ key }) => Effect.asVoid(Fixture.reserve(key, "supersede", "loopback")),
        failed: ({ id }) => flows.abandon(id)
      } satisfies Record<
        string,
        (flow: Effect.Success<ReturnType<typeof Fixture.deviceFlow>>) => Effect.Effect<void, unknown, FlowStore>
      >
      for (const [state, settle] of Object.entries(endings)) {
        const flow = yield* Fixture.deviceFlow(Fixture.newKey())
        yield* options.advance(Fixture.pollInterval)
        const { fence } = Option.getOrThrow(yield* flow.take)
        yield* settle(flow)
        const next = { after: Duration.zero, interval: Fixture.pollInterval, failures: 0, doubtful: false }
        assert.isFalse(yield* polls.again(flow.id, fence, next))
        assert.isFalse(yield* polls.end(flow.id, fence, "access_denied"))
        assert.isTrue(Option.isNone(yield* polls.accept({ id: flow.id, fence, handOffs: 0 }, Fixture.lease)))
        yield* options.advance(Fixture.pastLease)
        assert.isTrue(Option.isNone(yield* flow.take))
        assert.strictEqual((yield* flow.read).state, state)
      }
    }))

  it.effect("EXT-01 ends a flow with its device code, although the flow might live longer", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const { device, id, read, take } = yield* Fixture.deviceFlow(Fixture.newKey())
      const { createdAt, expiresAt } = yield* read
      const life = DateTime.toEpochMillis(expiresAt) - DateTime.toEpochMillis(createdAt)
      assert.isAtLeast(life, Duration.toMillis(device.expiresIn))
      assert.isBelow(life, Duration.toMillis(Fixture.ttl))
      yield* options.advance(Fixture.pollInterval)
      const { fence } = Option.getOrThrow(yield* take)
      yield* options.advance(Fixture.pastDevice)
      assert.isTrue(Option.isNone(yield* take))
      assert.isFalse(yield* polls.end(id, fence, "access_denied"))
      assert.isTrue(Option.isNone(yield* polls.accept({ id, fence, handOffs: 0 }, Fixture.lease)))
      assert.strictEqual((yield* read).state, "expired")
      yield* (yield* FlowStore).sweep({ retention: Duration.days(1), limit: 1000 })
      assert.isFalse(yield* polls.end(id, fence, "expired"))
      const other = yield* Fixture.deviceFlow(Fixture.newKey(), { expiresIn: Duration.hours(1) })
      const flow = yield* other.read
      const whole = DateTime.toEpochMillis(flow.expiresAt) - DateTime.toEpochMillis(flow.createdAt)
      assert.isAtMost(whole, Duration.toMillis(Fixture.ttl))
    }))

  it.effect("settles a flow whose code grants nothing, once, and frees its slot", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const outcomes = ["access_denied", "expired", "outcome_unknown", "client_misconfigured"] as const
      for (const outcome of outcomes) {
        const { id, key, read, take } = yield* Fixture.deviceFlow(Fixture.newKey())
        yield* options.advance(Fixture.pollInterval)
        const { fence } = Option.getOrThrow(yield* take)
        assert.isFalse(yield* polls.end(id, fence + 1, outcome))
        assert.isTrue(yield* polls.end(id, fence, outcome))
        const before = Fixture.flowView(yield* read)
        // Whoever was not told of its commit asks again; it is no other outcome's, and no other poll's.
        assert.isTrue(yield* polls.end(id, fence, outcome))
        assert.isFalse(yield* polls.end(id, fence, "id_token_invalid"))
        assert.isFalse(yield* polls.end(id, fence - 1, outcome))
        assert.deepStrictEqual(Fixture.flowView(yield* read), before)
        const { failure, settledAt, state } = yield* read
        const isState = outcome === "expired" || outcome === "outcome_unknown"
        assert.strictEqual(state, isState ? outcome : "failed")
        assert.strictEqual(failure, isState ? undefined : outcome)
        assert.isDefined(settledAt)
        assert.strictEqual((yield* Fixture.reserve(key))._tag, "Reserved")
      }
    }))
}
