import { assert, describe, it } from "@effect/vitest"
import type { RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { expired, inTime, redemptions } from "./Expired.ts"
import { layer, refuse } from "./World.ts"

describe("an answer that names no error that is known", () => {
  const unclear = () => refuse({ _tag: "Transient", unclear: true })

  it.effect("TOK-19 is asked again where every earlier outcome is known", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* expired("strict")
      const honest = provider.refresh
      provider.refresh = unclear
      const error = yield* Effect.flip(tokens.get(key))
      assert.strictEqual(error.code, "authorization_server_unavailable")
      yield* TestClock.adjust("2 minutes")
      provider.refresh = honest
      yield* tokens.get(key)
      assert.deepStrictEqual(redemptions(provider), [2])
    }).pipe(Effect.provide(layer)))
})

describe("answers in a row that name no error that is known", () => {
  const unclear = { _tag: "Transient", unclear: true } as const

  /** A connection that is refreshed as soon as that is allowed, and what comes of each refusal in turn. */
  const asking = Effect.gen(function*() {
    const { connection, key, provider, tokens } = yield* expired("strict")
    const honest = provider.refresh
    /** What a caller is told after each of these answers, and when to come back, in minutes. */
    const after = Effect.fnUntraced(function*(reasons: ReadonlyArray<RedemptionFailure>) {
      const heard: Array<readonly [code: string, minutes: number | undefined]> = []
      for (const reason of reasons) {
        provider.refresh = () => refuse(reason)
        const error = yield* Effect.flip(tokens.get(key))
        const wait = error._tag === "TokenError" ? error.retryAfter : undefined
        heard.push([error.code, wait && Duration.toMinutes(wait)])
        assert.strictEqual((yield* connection).status._tag, "active")
        yield* TestClock.adjust(wait ?? "15 minutes")
      }
      provider.refresh = honest
      return heard
    })
    return { after, key, provider, tokens }
  })

  const four = Array.from({ length: 4 }, () => unclear)
  const pausing = [2 / 60, 1, 5, 15].map((minutes) => ["authorization_server_unavailable", minutes] as const)

  it.effect("TOK-19 I5 want somebody's attention when there were five of them, and ask no person", () =>
    Effect.gen(function*() {
      const { after, key, provider, tokens } = yield* asking
      assert.deepStrictEqual(yield* after([...four, unclear, unclear, unclear]), [
        ...pausing,
        ["client_misconfigured", undefined],
        ["client_misconfigured", undefined],
        ["client_misconfigured", undefined]
      ])
      assert.strictEqual((yield* tokens.get(key)).generation, 2)
      assert.deepStrictEqual(redemptions(provider), [8])
    }).pipe(Effect.provide(layer)))

  const others: ReadonlyArray<RedemptionFailure> = [
    { _tag: "Transient" },
    { _tag: "Transient", retryAfter: Duration.minutes(2) },
    { _tag: "Configuration", error: "invalid_client" }
  ]
  for (const other of others) {
    it.effect(`TOK-19 are counted anew after another answer: ${JSON.stringify(other)}`, () =>
      Effect.gen(function*() {
        const { after } = yield* asking
        assert.deepStrictEqual((yield* after([...four, other, ...four])).slice(5), pausing)
      }).pipe(Effect.provide(layer)))
  }

  it.effect("TOK-19 are counted anew after a success", () =>
    Effect.gen(function*() {
      const { after, key, tokens } = yield* asking
      for (const round of [1, 2, 3]) {
        assert.deepStrictEqual(yield* after(four), pausing)
        assert.strictEqual((yield* tokens.get(key)).generation, round + 1)
        yield* TestClock.adjust("2 hours")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-19 TOK-20 I5 ask nobody, however many, where the endpoint is down or asks for patience", () =>
    Effect.gen(function*() {
      const { after } = yield* asking
      const down: ReadonlyArray<RedemptionFailure> = Array.from({ length: 12 }, (_, index) => others[index % 2]!)
      yield* after(down)
    }).pipe(Effect.provide(layer)))
})

describe("a refusal that comes after an attempt of unknown outcome", () => {
  /** What becomes of a connection whose first answer is lost and that is refused by this ever after. */
  const lostThen = Effect.fnUntraced(function*(reason: RedemptionFailure) {
    const { connection, key, provider, tokens } = yield* expired()
    let asked = 0
    provider.refresh = () => refuse(asked++ === 0 ? { _tag: "UnknownOutcome" } : reason)
    for (let call = 0; call < 5; call++) {
      yield* inTime(Effect.exit(tokens.get(key)), "10 seconds")
      yield* TestClock.adjust("1 hour")
    }
    const { status } = yield* connection
    return { redemptions: redemptions(provider), status, last: yield* Effect.flip(tokens.get(key)) }
  })

  const unclear: ReadonlyArray<RedemptionFailure> = [
    { _tag: "Transient", unclear: true },
    ...["invalid_request", "invalid_scope", "invalid_target", "unsupported_grant_type", "redirect_uri_mismatch"]
      .map((error) => ({ _tag: "Configuration", error }) as const)
  ]
  for (const reason of unclear) {
    it.effect(`I1 is the last one, since the token may be used up: ${"error" in reason ? reason.error : "no known error"}`, () =>
      Effect.gen(function*() {
        const { last, redemptions, status } = yield* lostThen(reason)
        assert.strictEqual(last._tag === "TokenError" && last.reason, "unknown_outcome")
        assert.deepStrictEqual(redemptions, [2])
        assert.deepStrictEqual(status, { _tag: "needs_reauth", reason: "unknown_outcome" })
      }).pipe(Effect.provide(layer)))
  }

  for (const error of ["invalid_client", "unauthorized_client", "incorrect_client_credentials", "invalid_dpop_proof"]) {
    it.effect(`TOK-18 I5 asks nobody where it is about the client: ${error}`, () =>
      Effect.gen(function*() {
        const { last, status } = yield* lostThen({ _tag: "Configuration", error })
        assert.strictEqual(last.code, "client_misconfigured")
        assert.deepStrictEqual(status, { _tag: "active" })
      }).pipe(Effect.provide(layer)))
  }
})
