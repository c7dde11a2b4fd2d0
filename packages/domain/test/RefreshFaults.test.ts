import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import { type Connection, sealContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import type { Sealed } from "@valetkey/domain/Sealed"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { connectionTopic, Signals } from "@valetkey/domain/Signals"
import { Spool } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { DateTime, Deferred, Duration, Effect, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse } from "./World.ts"

const outage = Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))

/** A connection whose access token is over, and the store as the test may break it. */
const expired = Effect.fnUntraced(function*(redemptionPolicy: RedemptionPolicy = "retry-once") {
  const key = yield* keyOf("mcp")
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: "https://mcp.example/mcp",
    quirks: { redemptionPolicy }
  })
  yield* connect(key)
  yield* TestClock.adjust("2 hours")
  const tokens = yield* AccessTokens
  const store = yield* ConnectionStore
  return {
    key,
    store,
    tokens,
    real: { ...store },
    provider: yield* Provider,
    value: Effect.map(tokens.get(key), ({ accessToken }) => Redacted.value(accessToken)),
    connection: Effect.map(store.get(key), Option.getOrThrow)
  }
})

const redemptions = (provider: Provider["Service"]) =>
  [...provider.redemptions].filter(([token]) => token.includes("refresh")).map(([, count]) => count)

/** The same secrets for the next generation, as another replica would have stored them. */
const resealed = Effect.fnUntraced(function*(
  { accessToken, refreshToken }: Connection["credentials"],
  { epoch, generation, key }: Pick<Connection, "epoch" | "generation" | "key">
) {
  const cipher = yield* Cipher
  const reseal = (field: "access_token" | "refresh_token", sealed: Sealed) =>
    Effect.flatMap(
      cipher.open(sealContext(key, epoch, field, generation), sealed),
      (secret) => cipher.seal(sealContext(key, epoch, field, generation + 1), secret)
    )
  return {
    accessToken: yield* reseal("access_token", accessToken),
    refreshToken: yield* reseal("refresh_token", refreshToken!)
  }
})

/** Runs, and lets the clock go on until it is done. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>, atMost: Duration.Input) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* TestClock.adjust(atMost)
    const exit = fiber.pollUnsafe()
    return exit === undefined
      ? yield* Effect.die(`not done after ${Duration.format(Duration.fromInputUnsafe(atMost))}`)
      : yield* exit
  })

describe("a provider", () => {
  it.effect("I7 S4.59 that never answers is given up at the deadline of the request, and asked again as the policy says", () =>
    Effect.gen(function*() {
      const { connection, provider, tokens, key } = yield* expired()
      let asked = 0
      provider.refresh = (issue) => asked++ === 0 ? Effect.never : issue
      const token = yield* inTime(tokens.get(key), "32 seconds")
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
      assert.strictEqual((yield* connection).generation, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-03 whose tokens are over at once is asked once in thirty seconds", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* expired()
      provider.lifetime = 0
      for (let call = 0; call < 10; call++) assert.strictEqual(yield* value, provider.issued[1])
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* value, provider.issued[2])
      assert.deepStrictEqual(redemptions(provider), [1, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-18 that refuses the client is left alone for a minute", () =>
    Effect.gen(function*() {
      const { connection, provider, value } = yield* expired()
      provider.refresh = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      for (let call = 0; call < 10; call++) yield* Effect.flip(value)
      assert.deepStrictEqual(redemptions(provider), [1])
      assert.strictEqual((yield* connection).status._tag, "active")
    }).pipe(Effect.provide(layer)))

  it.effect("is not asked when the key can open but not seal", () =>
    Effect.gen(function*() {
      const { provider, value } = yield* expired()
      const cipher = yield* Cipher
      Object.assign(cipher, { seal: () => Effect.fail(new CipherError({ code: "encryption_key_missing" })) })
      assert.strictEqual((yield* Effect.flip(value)).code, "encryption_key_missing")
      assert.deepStrictEqual(redemptions(provider), [])
    }).pipe(Effect.provide(layer)))
})

describe("a commit", () => {
  it.effect("I3 DB-03 is tried again while the store is away, and the spool is empty afterwards", () =>
    Effect.gen(function*() {
      const { connection, provider, real, store, tokens, key } = yield* expired()
      let refused = 0
      Object.assign(store, {
        commit: (...input: Parameters<typeof real.commit>) =>
          Effect.suspend(() => refused++ < 5 ? outage : real.commit(...input))
      })
      const token = yield* inTime(tokens.get(key), "10 seconds")
      assert.deepStrictEqual([refused, token.generation, (yield* connection).generation], [6, 2, 2])
      assert.deepStrictEqual(redemptions(provider), [1])
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
    }).pipe(Effect.provide(layer)))

  for (const readable of [true, false]) {
    it.effect(`CR-09 whose answer is lost is recognised by its result id, ${readable ? "at once" : "after a failed read"}`, () =>
      Effect.gen(function*() {
        const { connection, provider, real, store, tokens, key } = yield* expired()
        let reads = 0
        let commits = 0
        Object.assign(store, {
          commit: (...input: Parameters<typeof real.commit>) =>
            Effect.suspend(() =>
              commits++ === 0 ? Effect.andThen(real.commit(...input), outage) : real.commit(...input)
            ),
          isCommitted: (...input: Parameters<typeof real.isCommitted>) =>
            Effect.suspend(() => reads++ === 0 && !readable ? outage : real.isCommitted(...input))
        })
        const token = yield* inTime(tokens.get(key), "10 seconds")
        assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
        assert.deepStrictEqual([commits, (yield* connection).generation], [readable ? 1 : 2, 2])
        assert.deepStrictEqual(redemptions(provider), [1])
        assert.deepStrictEqual(yield* (yield* Spool).list, [])
      }).pipe(Effect.provide(layer)))
  }

  for (const back of ["store", "spool"] as const) {
    it.effect(`I3 that neither store nor spool takes in time is kept until one of them does: the ${back}`, () =>
      Effect.gen(function*() {
        const { connection, key, provider, real, store, tokens } = yield* expired("strict")
        const spool = yield* Spool
        const away = { store: true, spool: true }
        const { append } = spool
        Object.assign(store, {
          commit: (...input: Parameters<typeof real.commit>) =>
            Effect.suspend(() => away.store ? outage : real.commit(...input))
        })
        Object.assign(spool, {
          append: (...input: Parameters<typeof append>) => Effect.suspend(() => away.spool ? outage : append(...input))
        })
        yield* inTime(tokens.get(key), "50 seconds")
        assert.deepStrictEqual([yield* spool.list, (yield* connection).generation], [[], 1])
        away[back] = false
        yield* TestClock.adjust("5 seconds")
        if (back === "spool") {
          assert.strictEqual((yield* spool.list).length, 1)
          away.store = false
          yield* (yield* Housekeeping).replay
        }
        assert.deepStrictEqual([(yield* connection).generation, redemptions(provider)], [2, [1]])
        assert.deepStrictEqual(yield* spool.list, [])
      }).pipe(Effect.provide(layer)))
  }

  it.effect("S3x.12 I3 I1 that the store never takes leaves the result to the spool, and nobody redeems again when the store is back", () =>
    Effect.gen(function*() {
      const { connection, provider, real, store, tokens, key, value } = yield* expired()
      Object.assign(store, { commit: () => outage })
      const token = yield* inTime(tokens.get(key), "15 seconds")
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[1])
      assert.strictEqual((yield* connection).generation, 1)
      yield* TestClock.adjust("2 minutes")
      Object.assign(store, { commit: real.commit })
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redemptions(provider), [1])
      assert.deepStrictEqual(yield* (yield* Spool).list, [])
    }).pipe(Effect.provide(layer)))
})

describe("strict: what the store does not hear", () => {
  it.effect("I5 a lost answer to the mark asks nobody again, since nothing was sent", () =>
    Effect.gen(function*() {
      const { provider, real, store, tokens, key, value } = yield* expired("strict")
      Object.assign(store, {
        markSent: (...input: Parameters<typeof real.markSent>) => Effect.andThen(real.markSent(...input), outage)
      })
      assert.strictEqual((yield* Effect.flip(inTime(tokens.get(key), "1 second")))._tag, "StoreError")
      Object.assign(store, { markSent: real.markSent })
      assert.strictEqual(yield* value, provider.issued[1])
      assert.deepStrictEqual(redemptions(provider), [1])
    }).pipe(Effect.provide(layer)))

  it.effect("I5 an answer of the provider that cannot be recorded at once is recorded a little later", () =>
    Effect.gen(function*() {
      const { connection, provider, real, store, tokens, key } = yield* expired("strict")
      let refused = 0
      Object.assign(store, {
        fail: (...input: Parameters<typeof real.fail>) =>
          Effect.suspend(() => refused++ < 3 ? outage : real.fail(...input))
      })
      provider.refresh = () => refuse({ _tag: "Transient" })
      const error = yield* Effect.flip(inTime(tokens.get(key), "5 seconds"))
      assert.strictEqual(error._tag === "TokenError" && error.code, "authorization_server_unavailable")
      provider.refresh = (issue) => issue
      yield* TestClock.adjust("2 minutes")
      yield* tokens.get(key)
      assert.strictEqual((yield* connection).status._tag, "active")
    }).pipe(Effect.provide(layer)))
})

describe("an answer that names no error that is known", () => {
  const unclear = () => refuse({ _tag: "Transient", unclear: true })

  it.effect("I1 is the last one after an attempt of unknown outcome: the token may be used up", () =>
    Effect.gen(function*() {
      const { connection, key, provider, tokens } = yield* expired()
      provider.refresh = () => refuse({ _tag: "UnknownOutcome" })
      const asked = yield* Effect.forkChild(Effect.exit(tokens.get(key)))
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => redemptions(provider).join() === "1" }))
      provider.refresh = unclear
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(asked)
      yield* TestClock.adjust("1 hour")
      const error = yield* Effect.flip(tokens.get(key))
      assert.strictEqual(error._tag === "TokenError" && error.reason, "unknown_outcome")
      assert.deepStrictEqual(redemptions(provider), [2])
      assert.strictEqual((yield* connection).status._tag, "needs_reauth")
    }).pipe(Effect.provide(layer)))

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

describe("another replica", () => {
  const elsewhere = Effect.fnUntraced(
    function*(store: ConnectionStore["Service"], { epoch, generation, grant, key, credentials }: Connection) {
      const claim = yield* store.claim(key, {
        generation,
        epoch,
        policy: grant.redemptionPolicy,
        lease: Duration.minutes(1)
      })
      assert.strictEqual(claim._tag, "Claimed")
      const issuedAt = yield* DateTime.now
      return store.deposit(key, {
        epoch,
        previous: generation,
        grant,
        credentials: { ...credentials, issuedAt, expiresAt: DateTime.add(issuedAt, { hours: 1 }) }
      })
    }
  )

  it.effect("wakes the waiting caller with its signal, and no clock has to tick", () =>
    Effect.gen(function*() {
      const { connection, store, tokens, key } = yield* expired()
      const finish = yield* elsewhere(store, yield* connection)
      const waiting = yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(waiting.pollUnsafe())
      yield* finish
      yield* (yield* Signals).notify(connectionTopic(key))
      yield* Fiber.join(waiting)
    }).pipe(Effect.provide(layer)))

  it.effect("DB-10 whose signal is lost is found by the poll", () =>
    Effect.gen(function*() {
      const { connection, store, tokens, key } = yield* expired()
      const finish = yield* elsewhere(store, yield* connection)
      const waiting = yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      yield* Effect.yieldNow
      yield* finish
      yield* TestClock.adjust("500 millis")
      assert.isDefined(waiting.pollUnsafe())
    }).pipe(Effect.provide(layer)))

  it.effect("hears of a result and of a failure by signal", () =>
    Effect.gen(function*() {
      const { key, provider, value } = yield* expired()
      const signals = yield* Signals
      for (const refresh of [() => refuse({ _tag: "Transient" }), provider.refresh]) {
        yield* TestClock.adjust("1 minute")
        provider.refresh = refresh
        yield* Effect.scoped(Effect.gen(function*() {
          const wake = yield* signals.subscribe(connectionTopic(key))
          yield* Effect.exit(value)
          yield* wake
        }))
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S4.72 is waited for with one subscription at a time", () =>
    Effect.gen(function*() {
      const { connection, key, store, tokens } = yield* expired()
      yield* Effect.asVoid(elsewhere(store, yield* connection))
      const signals = yield* Signals
      const { subscribe } = signals
      let [live, most] = [0, 0]
      Object.assign(signals, {
        subscribe: (topic: string) =>
          Effect.andThen(
            Effect.acquireRelease(
              Effect.sync(() => most = Math.max(most, ++live)),
              () => Effect.sync(() => live--)
            ),
            subscribe(topic)
          )
      })
      yield* inTime(Effect.exit(tokens.get(key)), "75 seconds")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([live, most], [0, 1])
    }).pipe(Effect.provide(layer)))

  it.effect("I7 that never finishes is waited for no longer than the waiter's deadline", () =>
    Effect.gen(function*() {
      const { connection, real, store, tokens, key } = yield* expired()
      yield* Effect.asVoid(elsewhere(store, yield* connection))
      let claims = 0
      Object.assign(store, {
        claim: () => Effect.sync(() => (claims++, { _tag: "Busy", remaining: Duration.minutes(1) }))
      })
      const error = yield* Effect.flip(inTime(tokens.get(key), "75 seconds"))
      assert.strictEqual(error.code, "refresh_in_progress")
      yield* TestClock.adjust("1 second")
      const asked = claims
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(claims, asked)
      Object.assign(store, { claim: real.claim })
    }).pipe(Effect.provide(layer)))
})

describe("a caller who joins a refresh under way", () => {
  it.effect("I6 is not given the token that it has just proved to be rejected", () =>
    Effect.gen(function*() {
      const { key, provider, tokens } = yield* expired()
      const points = yield* InjectionPoints
      yield* points.pause("refresh.after_commit", { times: 1 })
      const first = yield* Effect.forkChild(tokens.get(key))
      yield* points.awaitReached("refresh.after_commit")
      const stored = yield* tokens.get(key)
      const second = yield* Effect.forkChild(tokens.get(key, { rejected: stored.accessToken }), {
        startImmediately: true
      })
      yield* points.release("refresh.after_commit")
      yield* Fiber.join(first)
      assert.strictEqual(Redacted.value((yield* Fiber.join(second)).accessToken), provider.issued[2])
    }).pipe(Effect.provide(layer)))

  it.effect("is bounded by its patience when the store hangs as well", () =>
    Effect.gen(function*() {
      const { key, store, tokens } = yield* expired()
      Object.assign(store, { get: () => Effect.never })
      const error = yield* Effect.flip(inTime(tokens.get(key, { patience: "10 seconds" }), "10 seconds"))
      assert.strictEqual(error.code, "refresh_in_progress")
    }).pipe(Effect.provide(layer)))

  it.effect("I6 is given what it asks for although the refresh under way is content with less", () =>
    Effect.gen(function*() {
      const { connection, key, provider, store, tokens } = yield* expired()
      const { claim } = store
      const [claiming, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      let claims = 0
      // The refresh of the first caller is held before it claims, and finds a token that is good for two minutes.
      Object.assign(store, {
        claim: (...input: Parameters<typeof claim>) =>
          Effect.suspend(() =>
            ++claims === 1
              ? Effect.andThen(claiming.open, Effect.andThen(Deferred.await(gate), claim(...input)))
              : claim(...input)
          )
      })
      const modest = yield* Effect.forkChild(Effect.exit(tokens.get(key)), { startImmediately: true })
      yield* claiming.await
      const demanding = yield* Effect.forkChild(tokens.get(key, { minValidity: "10 minutes" }), {
        startImmediately: true
      })
      const { credentials, epoch, generation } = yield* connection
      const now = yield* DateTime.now
      yield* store.commit(key, {
        generation,
        epoch,
        resultId: "elsewhere",
        credentials: {
          ...credentials,
          ...(yield* resealed(credentials, { key, epoch, generation })),
          issuedAt: DateTime.subtract(now, { minutes: 58 }),
          expiresAt: DateTime.add(now, { minutes: 2 })
        }
      })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(modest)
      assert.strictEqual(Redacted.value((yield* Fiber.join(demanding)).accessToken), provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("I7 is bounded by the waiter's deadline when it names no patience and the store hangs", () =>
    Effect.gen(function*() {
      const { key, store, tokens } = yield* expired()
      Object.assign(store, { get: () => Effect.never })
      const error = yield* Effect.flip(inTime(tokens.get(key), "75 seconds"))
      assert.strictEqual(error.code, "refresh_in_progress")
    }).pipe(Effect.provide(layer)))
})

describe("a caller whose refresh finds what another replica stored", () => {
  it.effect("I6 is not given the token that it has just proved to be rejected", () =>
    Effect.gen(function*() {
      const { connection, key, provider, real, store, tokens } = yield* expired()
      const before = yield* connection
      const { accessToken } = yield* tokens.get(key)
      yield* TestClock.adjust("2 minutes")
      let reads = 0
      // The result that the token is of is stored behind the back of whoever has just read.
      Object.assign(store, {
        get: (...input: Parameters<typeof real.get>) => reads++ === 0 ? Effect.succeedSome(before) : real.get(...input)
      })
      const token = yield* tokens.get(key, { rejected: accessToken })
      assert.strictEqual(Redacted.value(token.accessToken), provider.issued[2])
      assert.deepStrictEqual(redemptions(provider), [1, 1])
    }).pipe(Effect.provide(layer)))
})

describe("closing the application", () => {
  it.effect("stops waiting for a refresh that hangs", () =>
    Effect.gen(function*() {
      const asked = yield* Latch.make()
      const closed = yield* Effect.forkChild(Effect.scoped(
        Effect.gen(function*() {
          const { provider, value } = yield* expired()
          provider.refresh = () => Effect.andThen(asked.open, Effect.never)
          yield* Effect.forkChild(value)
          yield* asked.await
        }).pipe(Effect.provide(layer))
      ))
      yield* asked.await
      yield* TestClock.adjust("45 seconds")
      yield* Fiber.join(closed)
    }))

  it.effect("I3 keeps in the spool what has arrived, even beyond the time it waits", () =>
    Effect.gen(function*() {
      const world = yield* Deferred.make<readonly [InjectionPoints["Service"], Spool["Service"]]>()
      const closed = yield* Effect.forkChild(Effect.scoped(
        Effect.gen(function*() {
          const { value } = yield* expired()
          const points = yield* InjectionPoints
          yield* points.pause("refresh.response_received")
          yield* Effect.forkChild(value)
          yield* points.awaitReached("refresh.response_received")
          yield* Deferred.succeed(world, [points, yield* Spool])
        }).pipe(Effect.provide(layer))
      ))
      const [points, spool] = yield* Deferred.await(world)
      yield* TestClock.adjust("45 seconds")
      yield* points.release("refresh.response_received")
      yield* Fiber.join(closed)
      assert.strictEqual((yield* spool.list).length, 1)
    }))
})
