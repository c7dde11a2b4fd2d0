import { assert, describe, type Vitest } from "@effect/vitest"
import { type EndpointAnswer, threshold } from "@valetkey/domain/Pacing"
import { type PacedEndpoint, PacingStore } from "@valetkey/domain/PacingStore"
import { Duration, Effect } from "effect"
import { randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"
import * as SetBack from "./internal/setBackCases.ts"

const silent: EndpointAnswer = { _tag: "Silent" }
const answered: EndpointAnswer = { _tag: "Answered" }

const newEndpoint = (): PacedEndpoint => ({
  tenant: Fixture.newTenant(),
  tokenEndpoint: `https://${randomUUID()}.example/token?ü=1`
})

const admit = (endpoint: PacedEndpoint) =>
  Effect.flatMap(PacingStore, (pacing) => pacing.admit(endpoint, { lease: Fixture.lease }))

const report = (endpoint: PacedEndpoint, answer: EndpointAnswer) =>
  Effect.flatMap(PacingStore, (pacing) => pacing.report(endpoint, answer))

const tagOf = (endpoint: PacedEndpoint) => Effect.map(admit(endpoint), ({ admission }) => admission._tag)

/** An endpoint that has not answered often enough for its circuit to open. */
const opened = Effect.gen(function*() {
  const endpoint = newEndpoint()
  for (let times = 0; times < threshold; times++) yield* report(endpoint, silent)
  return endpoint
})

const acquire = (provider: string, { cap = 3, count = 1, holder = randomUUID() } = {}) =>
  Effect.flatMap(PacingStore, (pacing) => pacing.acquire({ provider, holder, cap, count, lease: Fixture.lease }))

const release = (provider: string, holder: string, slot: number) =>
  Effect.flatMap(PacingStore, (pacing) => pacing.release({ provider, holder, slot }))

const newProvider = () => `https://${randomUUID()}.example`

/** The cases of the contract of `PacingStore`, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<PacingStore | R>, options: Fixture.ContractOptions<R>): void => {
  describe("admit and report", () => {
    it.effect("keeps nobody from an endpoint of which nothing is known, and stores nothing of one that answers", () =>
      Effect.gen(function*() {
        const endpoint = newEndpoint()
        assert.deepStrictEqual(yield* admit(endpoint), { admission: { _tag: "Go" }, healthy: true })
        for (const news of [answered, { _tag: "Abandoned" } as const]) {
          assert.deepStrictEqual(yield* report(endpoint, news), { healthy: true, changed: false })
        }
        assert.deepStrictEqual(yield* admit(endpoint), { admission: { _tag: "Go" }, healthy: true })
      }))

    it.effect("opens the circuit after requests without an answer, and an answer closes it", () =>
      Effect.gen(function*() {
        const endpoint = newEndpoint()
        for (let times = 1; times < threshold; times++) {
          assert.deepStrictEqual(yield* report(endpoint, silent), { healthy: false, changed: true })
          assert.deepStrictEqual(yield* admit(endpoint), { admission: { _tag: "Go" }, healthy: false })
        }
        yield* report(endpoint, silent)
        const { admission } = yield* admit(endpoint)
        assert.strictEqual(admission._tag === "Wait" && admission.reason, "open")
        assert.deepStrictEqual(yield* report(endpoint, answered), { healthy: true, changed: true })
        assert.deepStrictEqual(yield* admit(endpoint), { admission: { _tag: "Go" }, healthy: true })
      }))

    it.effect("counts every one of twenty reports at once", () =>
      Effect.gen(function*() {
        const endpoint = newEndpoint()
        yield* Effect.all(Array.from({ length: threshold - 1 }, () => report(endpoint, silent)), {
          concurrency: "unbounded"
        })
        assert.strictEqual(yield* tagOf(endpoint), "Go")
        yield* report(endpoint, silent)
        assert.strictEqual(yield* tagOf(endpoint), "Wait")
      }))

    it.effect("lets one of ten callers probe when the circuit was open for long enough, until its lease ends", () =>
      Effect.gen(function*() {
        const endpoint = yield* opened
        yield* options.advance(Duration.seconds(30))
        const all = yield* Effect.all(Array.from({ length: 10 }, () => tagOf(endpoint)), { concurrency: "unbounded" })
        assert.deepStrictEqual(all.filter((tag) => tag !== "Wait"), ["Probe"])
        yield* options.advance(Fixture.pastLease)
        assert.strictEqual(yield* tagOf(endpoint), "Probe")
        yield* report(endpoint, { _tag: "Abandoned" })
        assert.strictEqual(yield* tagOf(endpoint), "Probe")
        yield* report(endpoint, silent)
        assert.strictEqual(yield* tagOf(endpoint), "Wait")
      }))

    it.effect("leaves an endpoint alone for as long as it asked, whatever it answers meanwhile", () =>
      Effect.gen(function*() {
        const endpoint = newEndpoint()
        const pause: EndpointAnswer = { _tag: "Asked", delay: Duration.minutes(5) }
        assert.deepStrictEqual(yield* report(endpoint, pause), { healthy: false, changed: true })
        yield* report(endpoint, { _tag: "Asked", delay: Duration.seconds(1) })
        yield* report(endpoint, answered)
        const { admission } = yield* admit(endpoint)
        if (admission._tag !== "Wait") return assert.fail(admission._tag)
        assert.strictEqual(admission.reason, "asked")
        assert.isAbove(Duration.toSeconds(admission.remaining), 200)
        assert.isAtMost(Duration.toSeconds(admission.remaining), 300)
        yield* options.advance(Duration.minutes(6))
        assert.strictEqual(yield* tagOf(endpoint), "Go")
        assert.deepStrictEqual(yield* report(endpoint, answered), { healthy: true, changed: true })
      }))

    it.effect("forgets the tenant's endpoints that nobody asked for an hour when another one fails, and no younger ones", () =>
      Effect.gen(function*() {
        const tripped = yield* opened
        const stranger = yield* opened
        const [silentOnce, paused, late] = [1, 2, 3].map(() => ({ ...newEndpoint(), tenant: tripped.tenant }))
        yield* report(silentOnce!, silent)
        yield* report(paused!, { _tag: "Asked", delay: Duration.minutes(30) })
        yield* options.advance(Duration.minutes(50))
        yield* report(late!, silent)
        const kept = Effect.forEach(
          [tripped, silentOnce!, paused!, late!, stranger],
          (endpoint) => Effect.map(admit(endpoint), ({ healthy }) => !healthy)
        )
        yield* report(tripped, silent)
        assert.deepStrictEqual(yield* kept, [true, true, true, true, true])
        yield* options.advance(Duration.minutes(20))
        yield* report({ ...newEndpoint(), tenant: tripped.tenant }, silent)
        assert.deepStrictEqual(yield* kept, [true, false, true, true, true])
        yield* options.advance(Duration.minutes(90))
        yield* report(silentOnce!, silent)
        assert.deepStrictEqual(yield* kept, [false, true, false, false, true])
      }))

    it.effect("I10 keeps what one tenant's clients bring about from every other tenant, and endpoints apart", () =>
      Effect.gen(function*() {
        const endpoint = yield* opened
        for (
          const other of [
            { ...endpoint, tenant: Fixture.newTenant() },
            { ...endpoint, tokenEndpoint: `${endpoint.tokenEndpoint}2` }
          ]
        ) assert.deepStrictEqual(yield* admit(other), { admission: { _tag: "Go" }, healthy: true })
      }))
  })

  describe("acquire and release", () => {
    it.effect("gives no slot twice and no more than the cap, to thirty who ask at once", () =>
      Effect.gen(function*() {
        const provider = newProvider()
        const all = yield* Effect.all(Array.from({ length: 30 }, () => acquire(provider)), { concurrency: "unbounded" })
        assert.deepStrictEqual(all.flat().sort(), [1, 2, 3])
        assert.deepStrictEqual(yield* acquire(provider, { count: 3 }), [])
        assert.deepStrictEqual((yield* acquire(newProvider(), { count: 2 })).length, 2)
      }))

    it.effect("gives several at once, and those that are left", () =>
      Effect.gen(function*() {
        const provider = newProvider()
        assert.lengthOf(yield* acquire(provider, { cap: 5, count: 3 }), 3)
        assert.lengthOf(yield* acquire(provider, { cap: 5, count: 3 }), 2)
      }))

    it.effect("frees a slot when its holder gives it back, and when its lease ends", () =>
      Effect.gen(function*() {
        const provider = newProvider()
        const holder = randomUUID()
        const [slot = 0] = yield* acquire(provider, { cap: 1, holder })
        yield* release(provider, randomUUID(), slot)
        assert.deepStrictEqual(yield* acquire(provider, { cap: 1 }), [])
        yield* release(provider, holder, slot)
        yield* release(provider, holder, slot)
        const late = randomUUID()
        assert.deepStrictEqual(yield* acquire(provider, { cap: 1, holder: late }), [slot])
        yield* options.advance(Fixture.pastLease)
        assert.deepStrictEqual(yield* acquire(provider, { cap: 1 }), [slot])
        // Whoever lost it gives back nothing of the next.
        yield* release(provider, late, slot)
        assert.deepStrictEqual(yield* acquire(provider, { cap: 1 }), [])
      }))

    it.effect("follows another cap", () =>
      Effect.gen(function*() {
        const provider = newProvider()
        assert.lengthOf(yield* acquire(provider, { cap: 4, count: 4 }), 4)
        yield* options.advance(Fixture.pastLease)
        assert.lengthOf(yield* acquire(provider, { cap: 2, count: 4 }), 2)
        assert.lengthOf(yield* acquire(provider, { cap: 3, count: 4 }), 1)
      }))
  })

  describe("a clock that was set back", () => SetBack.ofPacing(it, options))
}
