import { assert, type Vitest } from "@effect/vitest"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { type EndpointAnswer, threshold } from "@valetkey/domain/Pacing"
import { PacingStore } from "@valetkey/domain/PacingStore"
import { Duration, Effect } from "effect"
import { randomUUID } from "node:crypto"
import { claim, claimed, connected, fail, markSent } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

/** What is done under a clock that is two hours ahead, and then set right. */
const makeEarly = <R>({ advance }: Fixture.ContractOptions<R>) => <A, E, R2>(effect: Effect.Effect<A, E, R2>) =>
  Effect.ensuring(
    Effect.andThen(advance(Duration.hours(2)), effect),
    Effect.orDie(advance(Duration.hours(-2)))
  )

/** The cases of `ConnectionStore` about a clock that is set back after it wrote how long something lasts. */
export const ofRefreshes = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  const { advance } = options
  const early = makeEarly(options)

  it.effect("keeps nobody waiting for a pause of a refresh that was stored under a clock ahead", () =>
    Effect.gen(function*() {
      const { key } = yield* connected
      yield* early(Effect.gen(function*() {
        yield* fail(key, 1, yield* claimed(key, 1), { _tag: "Retryable", delay: Duration.seconds(2) })
        assert.strictEqual((yield* claim(key, 1))._tag, "Paced")
      }))
      assert.strictEqual((yield* claim(key, 1))._tag, "Claimed")
      assert.strictEqual((yield* claim(key, 1))._tag, "Busy")
    }))

  it.effect("keeps a pause of a refresh that is no longer than one may be", () =>
    Effect.gen(function*() {
      const { key } = yield* connected
      const asked = Duration.hours(24)
      yield* fail(key, 1, yield* claimed(key, 1), { _tag: "Retryable", delay: asked })
      const outcome = yield* claim(key, 1)
      if (outcome._tag !== "Paced") return assert.fail(outcome._tag)
      assert.isAbove(Duration.toMinutes(outcome.remaining), 58)
      assert.isAtMost(Duration.toMinutes(outcome.remaining), 60)
    }))

  for (const phase of ["claimed", "sent"]) {
    it.effect(`I1 begins the lease of a ${phase} refresh anew that was taken under a clock ahead, once`, () =>
      Effect.gen(function*() {
        const { key } = yield* connected
        const old = yield* early(Effect.gen(function*() {
          const fence = yield* claimed(key, 1)
          if (phase === "sent") assert.isTrue(yield* markSent(key, 1, fence))
          return fence
        }))
        const remaining = Effect.map(
          claim(key, 1),
          (outcome) => outcome._tag === "Busy" ? Duration.toSeconds(outcome.remaining) : outcome._tag
        )
        // Its holder may live: what nobody knows of is not sent again before a whole lease is over.
        const first = yield* remaining
        assert.isAtMost(Number(first), 60)
        yield* advance(Duration.seconds(30))
        const second = yield* remaining
        assert.isAtMost(Number(second), 30)
        assert.isAbove(Number(second), 0)
        yield* advance(Duration.seconds(31))
        assert.isAbove(yield* claimed(key, 1), old)
      }))
  }

  it.effect("I1 loses a strict refresh of unknown outcome no sooner than a lease after the clock was set back", () =>
    Effect.gen(function*() {
      const { key } = yield* connected
      yield* early(Effect.gen(function*() {
        assert.isTrue(yield* markSent(key, 1, yield* claimed(key, 1, "strict")))
      }))
      assert.strictEqual((yield* claim(key, 1, "strict"))._tag, "Busy")
      yield* advance(Fixture.pastLease)
      assert.deepStrictEqual(yield* claim(key, 1, "strict"), { _tag: "Moved", lost: "unknown_outcome" })
    }))
}

/** The same of `PacingStore`. */
export const ofPacing = <R>(it: Vitest.MethodsNonLive<PacingStore | R>, options: Fixture.ContractOptions<R>): void => {
  const { advance } = options
  const early = makeEarly(options)
  const newEndpoint = () => ({
    tenant: Fixture.newTenant(),
    tokenEndpoint: `https://${randomUUID()}.example/token`
  })
  type Endpoint = ReturnType<typeof newEndpoint>
  const report = (endpoint: Endpoint, answer: EndpointAnswer) =>
    Effect.flatMap(PacingStore, (pacing) => pacing.report(endpoint, answer))
  const admitted = (endpoint: Endpoint) =>
    Effect.flatMap(
      PacingStore,
      (pacing) => Effect.map(pacing.admit(endpoint, { lease: Fixture.lease }), ({ admission }) => admission._tag)
    )

  it.effect("lets one probe a token endpoint whose circuit opened under a clock ahead", () =>
    Effect.gen(function*() {
      const endpoint = newEndpoint()
      yield* early(Effect.forEach(Array.from({ length: threshold }), () => report(endpoint, { _tag: "Silent" })))
      assert.deepStrictEqual([yield* admitted(endpoint), yield* admitted(endpoint)], ["Probe", "Wait"])
    }))

  it.effect("lets another one probe when a probe was granted under a clock ahead", () =>
    Effect.gen(function*() {
      const endpoint = newEndpoint()
      yield* early(Effect.gen(function*() {
        for (let times = 0; times < threshold; times++) yield* report(endpoint, { _tag: "Silent" })
        yield* advance(Duration.minutes(1))
        assert.strictEqual(yield* admitted(endpoint), "Probe")
        yield* advance(Duration.minutes(-1))
      }))
      assert.deepStrictEqual([yield* admitted(endpoint), yield* admitted(endpoint)], ["Probe", "Wait"])
    }))

  it.effect("leaves no token endpoint alone for a pause that was asked for under a clock ahead, and keeps nothing of it", () =>
    Effect.gen(function*() {
      const endpoint = newEndpoint()
      yield* early(report(endpoint, { _tag: "Asked", delay: Duration.minutes(5) }))
      assert.strictEqual(yield* admitted(endpoint), "Go")
      yield* report(endpoint, { _tag: "Asked", delay: Duration.minutes(1) })
      assert.strictEqual(yield* admitted(endpoint), "Wait")
      yield* advance(Duration.minutes(2))
      assert.strictEqual(yield* admitted(endpoint), "Go")
      assert.deepStrictEqual(yield* report(endpoint, { _tag: "Answered" }), { healthy: true, changed: true })
    }))

  it.effect("opens the circuit anew that had opened under a clock ahead", () =>
    Effect.gen(function*() {
      const endpoint = newEndpoint()
      yield* early(Effect.forEach(Array.from({ length: threshold }), () => report(endpoint, { _tag: "Silent" })))
      assert.strictEqual(yield* admitted(endpoint), "Probe")
      yield* report(endpoint, { _tag: "Silent" })
      assert.strictEqual(yield* admitted(endpoint), "Wait")
    }))

  it.effect("frees a slot whose lease was taken under a clock ahead, and no other", () =>
    Effect.gen(function*() {
      const pacing = yield* PacingStore
      const provider = `https://${randomUUID()}.example`
      const acquire = pacing.acquire({ provider, holder: randomUUID(), cap: 2, count: 1, lease: Fixture.lease })
      assert.deepStrictEqual(yield* acquire, [1])
      yield* advance(Fixture.pastLease)
      assert.deepStrictEqual(yield* early(acquire), [1])
      assert.deepStrictEqual([yield* acquire, yield* acquire, yield* acquire], [[1], [2], []])
    }))
}
