import { assert, describe, it } from "@effect/vitest"
import type { RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { expired, inTime, redemptions } from "./Expired.ts"
import { replica } from "./Paced.ts"
import { connect, keyOf, layer, refuse } from "./World.ts"

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

  /** Another connection at the same endpoint, to be refreshed. */
  const other = Effect.gen(function*() {
    const key = yield* keyOf("mcp-2")
    yield* connect(key)
    yield* TestClock.adjust("2 hours")
    return key
  })

  /** A connection that is refreshed as soon as that is allowed, and what comes of each refusal in turn. */
  const asking = Effect.gen(function*() {
    const { connection, key, provider, tokens } = yield* expired("strict")
    const honest = provider.refresh
    /** The status after each of these answers, and the minutes that are waited after it. */
    const after = Effect.fnUntraced(function*(reasons: ReadonlyArray<RedemptionFailure>) {
      const heard: Array<readonly [status: string, minutes: number]> = []
      for (const reason of reasons) {
        provider.refresh = () => refuse(reason)
        const error = yield* Effect.flip(tokens.get(key))
        const wait = error._tag === "TokenError" ? error.retryAfter ?? Duration.zero : Duration.zero
        const { status } = yield* connection
        heard.push([status._tag === "needs_reauth" ? status.reason : status._tag, Duration.toMinutes(wait)])
        yield* TestClock.adjust(Duration.max(wait, Duration.minutes(1)))
      }
      provider.refresh = honest
      return heard
    })
    return { after, key, provider, tokens }
  })

  const five: ReadonlyArray<readonly [string, number]> = [["active", 2 / 60], ["active", 1], ["active", 5], [
    "active",
    15
  ], [
    "refresh_token_rejected",
    0
  ]] as const

  it.effect("TOK-19 ask the person when there were five of them, after twenty minutes at least, if others are understood there", () =>
    Effect.gen(function*() {
      const { after, key, provider, tokens } = yield* asking
      const heard = yield* after([unclear])
      yield* tokens.get(yield* other)
      assert.deepStrictEqual([...heard, ...(yield* after([unclear, unclear, unclear, unclear]))], five)
      const error = yield* Effect.flip(tokens.get(key))
      assert.deepStrictEqual([error.code, error._tag === "TokenError" && error.reason], [
        "reauthorization_required",
        "refresh_token_rejected"
      ])
      assert.deepStrictEqual(redemptions(provider), [5, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-19 I5 ask nobody for a day where the endpoint understands nobody, as behind a firewall", () =>
    Effect.gen(function*() {
      const { after, tokens } = yield* asking
      // It understood somebody before all of them.
      yield* tokens.get(yield* other)
      yield* TestClock.adjust("1 minute")
      const heard = yield* after(Array.from({ length: 120 }, () => unclear))
      const minutes = heard.map(([, minutes]) => minutes)
      const place = heard.findIndex(([status]) => status !== "active")
      assert.strictEqual(heard[place]?.[0], "refresh_token_rejected")
      assert.isAtLeast(minutes.slice(0, place).reduce((sum, one) => sum + Math.max(1, one), 0), 24 * 60)
    }).pipe(Effect.provide(layer)))

  const four = Array.from({ length: 4 }, () => unclear)
  const others: ReadonlyArray<RedemptionFailure> = [
    { _tag: "Transient" },
    { _tag: "Transient", retryAfter: Duration.minutes(2) },
    { _tag: "Configuration", error: "invalid_client" }
  ]
  for (const other of others) {
    it.effect(`TOK-19 I5 are counted anew after another answer: ${JSON.stringify(other)}`, () =>
      Effect.gen(function*() {
        const { after } = yield* asking
        for (const [status] of yield* after([...four, other, ...four, other])) assert.strictEqual(status, "active")
      }).pipe(Effect.provide(layer)))
  }

  it.effect("TOK-19 I5 are counted anew after a success", () =>
    Effect.gen(function*() {
      const { after, key, tokens } = yield* asking
      for (const round of [1, 2, 3]) {
        for (const [status] of yield* after(four)) assert.strictEqual(status, "active")
        assert.strictEqual((yield* tokens.get(key)).generation, round + 1)
        yield* TestClock.adjust("2 hours")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-19 I5 are counted by each replica for itself, so that none gives up too early", () =>
    Effect.gen(function*() {
      const { connection, key, provider, tokens } = yield* expired("strict")
      const honest = provider.refresh
      for (const asked of [tokens, yield* replica()]) {
        for (const [place] of four.entries()) {
          provider.refresh = () => refuse(unclear)
          yield* Effect.flip(asked.get(key))
          provider.refresh = honest
          if (place === 0) yield* asked.get(yield* other)
          yield* TestClock.adjust("15 minutes")
        }
        assert.strictEqual((yield* connection).status._tag, "active")
      }
      provider.refresh = () => refuse(unclear)
      yield* Effect.flip(tokens.get(key))
      assert.strictEqual((yield* connection).status._tag, "needs_reauth")
      assert.strictEqual(redemptions(provider)[0], 9)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("TOK-19 TOK-20 I5 ask nobody, however many, where the endpoint is down or asks for patience", () =>
    Effect.gen(function*() {
      const { after } = yield* asking
      const down: ReadonlyArray<RedemptionFailure> = Array.from({ length: 12 }, (_, index) => others[index % 2]!)
      for (const [status] of yield* after(down)) assert.strictEqual(status, "active")
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
