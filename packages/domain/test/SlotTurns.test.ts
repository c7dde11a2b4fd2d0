import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { threshold } from "@valetkey/domain/Pacing"
import { PacingStore } from "@valetkey/domain/PacingStore"
import { Context, Deferred, Duration, Effect, Fiber, Latch, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { expired, quiet, shared } from "./Paced.ts"
import { connect, layerWith, Provider, refuse } from "./World.ts"

const endpoint = `${shared}/token`
const layerCapped = layerWith({ caps: [{ endpoint: shared, cap: 1 }] })

/** A provider that asks one issuer's clients to stay away, as soon as the gate opens, and serves the others. */
const pausing = Effect.fnUntraced(function*(issuer: string, delay: Duration.Input) {
  const provider = yield* Provider
  const honest = provider.refresh
  const gate = yield* Deferred.make<void>()
  const sent: Array<string> = []
  provider.refresh = (issue, grant) =>
    Effect.suspend(() => {
      sent.push(grant.issuer)
      return grant.issuer === issuer
        ? Effect.andThen(
          Deferred.await(gate),
          refuse({ _tag: "Transient", retryAfter: Duration.fromInputUnsafe(delay) })
        )
        : honest(issue, grant)
    })
  return { sent, open: Deferred.succeed(gate, undefined) }
})

describe("a slot that comes free", () => {
  it.effect("is not held while one tenant's pause is waited out", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      const { open, sent } = yield* pausing(shared, "1900 millis")
      const flood = yield* Effect.forEach([0, 1, 2], (index) => expired(`f-${index}`))
      const modest = yield* expired("m", { tenant: "umbrella", issuer: "https://modest.example" })
      for (const key of flood) yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      yield* quiet
      const call = yield* Effect.forkChild(tokens.get(modest), { startImmediately: true })
      yield* quiet
      assert.deepStrictEqual(sent, [shared])
      yield* open
      yield* quiet
      // Not a moment of the pause has passed.
      assert.isDefined(call.pollUnsafe())
      assert.strictEqual((yield* Fiber.join(call)).generation, 2)
      assert.deepStrictEqual(sent, [shared, "https://modest.example"])
    }).pipe(Effect.provide(layerCapped)))

  it.effect("finds the pause that the answer before it has asked for", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      const { open, sent } = yield* pausing(shared, "10 minutes")
      const keys = yield* Effect.forEach([0, 1, 2], (index) => expired(`k-${index}`))
      const calls = yield* Effect.forEach(
        keys,
        (key) => Effect.forkChild(Effect.flip(tokens.get(key)), { startImmediately: true })
      )
      yield* quiet
      yield* open
      for (const call of calls) {
        assert.strictEqual((yield* Fiber.join(call)).code, "authorization_server_unavailable")
      }
      assert.lengthOf(sent, 1)
    }).pipe(Effect.provide(layerCapped)))

  it.effect("is no longer waited for when the caller's longest wait is over", () =>
    Effect.gen(function*() {
      const [pacing, tokens] = [yield* PacingStore, yield* AccessTokens]
      const taken = { provider: shared, holder: "test", cap: 1, count: 1, lease: Duration.minutes(1) }
      const [slot] = yield* pacing.acquire(taken)
      const key = yield* expired("k")
      const patient = yield* Effect.forkChild(Effect.flip(tokens.get(key, { patience: "5 minutes" })), {
        startImmediately: true
      })
      for (let second = 0; second < 80; second++) {
        yield* TestClock.adjust("1 second")
        yield* quiet
        // No lease is as long as the wait: the holder takes it again before anybody else can.
        yield* pacing.release({ provider: shared, holder: "test", slot: slot! })
        assert.deepStrictEqual(yield* pacing.acquire(taken), [slot!])
      }
      assert.strictEqual(patient.pollUnsafe()?._tag, "Success")
      assert.strictEqual((yield* Fiber.join(patient)).code, "refresh_in_progress")
      yield* pacing.release({ provider: shared, holder: "test", slot: slot! })
      yield* tokens.get(key)
    }).pipe(Effect.provide(layerCapped)))
})

describe("a probe", () => {
  it.effect("is somebody else's when a new consent ends the wait in the moment that it is granted", () =>
    Effect.gen(function*() {
      const pacing = yield* PacingStore
      const store = yield* ConnectionStore
      const [granted, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      const slow = PacingStore.of({
        ...pacing,
        admit: (endpoint, input) =>
          Effect.tap(
            pacing.admit(endpoint, input),
            ({ admission }) =>
              admission._tag === "Probe" ? Effect.andThen(granted.open, Deferred.await(gate)) : Effect.void
          )
      })
      const context = yield* Layer.build(
        Layer.provide(Layer.fresh(AccessTokens.layer()), Layer.succeed(PacingStore, slow))
      )
      const tokens = Context.get(context, AccessTokens)
      const key = yield* expired("k")
      const paced = { tenant: key.tenant, tokenEndpoint: endpoint }
      for (let failure = 0; failure < threshold; failure++) yield* pacing.report(paced, { _tag: "Silent" })
      yield* TestClock.adjust("5 seconds")
      const call = yield* Effect.forkChild(tokens.get(key), { startImmediately: true })
      yield* granted.await
      yield* connect(key)
      yield* quiet
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      const { generation } = Option.getOrThrow(yield* store.get(key))
      assert.strictEqual((yield* Fiber.join(call)).generation, generation)
      const { admission } = yield* pacing.admit(paced, { lease: Duration.seconds(45) })
      assert.strictEqual(admission._tag, "Probe")
    }).pipe(Effect.scoped, Effect.provide(layerWith())))
})
