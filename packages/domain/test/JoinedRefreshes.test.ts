import { assert, describe, it } from "@effect/vitest"
import { Cipher } from "@valetkey/domain/Cipher"
import { type Connection, sealContext } from "@valetkey/domain/Connection"
import type { Sealed } from "@valetkey/domain/Sealed"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { DateTime, Deferred, Effect, Fiber, Latch, Redacted } from "effect"
import { expired, inTime } from "./Expired.ts"
import { layer } from "./World.ts"

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
