import type { ReadinessCheck } from "@valetkey/api/SystemApi"
import { HeldKeys } from "@valetkey/domain/HeldKeys"
import { Instance } from "@valetkey/domain/Instance"
import { Readiness } from "@valetkey/http/Readiness"
import { PostgresHealth } from "@valetkey/store-postgres/PostgresHealth"
import { SqliteDatabase } from "@valetkey/store-sqlite/SqliteDatabase"
import { Effect, Layer } from "effect"
import { Draining } from "./Draining.ts"
import { RootKeys } from "./RootKeys.ts"

/** Layer of the readiness of the local profile. */
export const layerSqlite: Layer.Layer<Readiness, never, Draining | HeldKeys | Instance | RootKeys | SqliteDatabase> =
  Layer.effect(
    Readiness,
    Effect.gen(function*() {
      const database = yield* SqliteDatabase
      return yield* make(
        database.read("Health.check", (session) => session.all("SELECT 1")).pipe(
          Effect.as(check("store", true, "ok")),
          Effect.catchTag("StoreError", (error) => Effect.succeed(check("store", false, error.code)))
        )
      )
    })
  )

/** Layer of the readiness of the server profile. */
export const layerPostgres: Layer.Layer<Readiness, never, Draining | HeldKeys | Instance | PostgresHealth | RootKeys> =
  Layer.effect(
    Readiness,
    Effect.gen(function*() {
      const health = yield* PostgresHealth
      return yield* make(
        Effect.map(
          health.check,
          (found) => found._tag === "Ready" ? check("store", true, "ok") : check("store", false, found.reason)
        )
      )
    })
  )

const make = (store: Effect.Effect<ReadinessCheck>) =>
  Effect.map(
    Effect.all([Draining, HeldKeys, Instance, RootKeys]),
    ([draining, held, { admitted }, keys]) =>
      Readiness.of({
        checks: Effect.all([
          store,
          // Without a key everything that needs no secret works, so this degrades and does not take the server away.
          Effect.matchEffect(keys.ring, {
            onSuccess: () => verified(held),
            onFailure: (error) => Effect.succeed(check("key", true, `degraded: ${error.code}`))
          }),
          // As of the last look, which is seconds old; a store that does not answer has a check of its own.
          Effect.match(admitted, {
            onSuccess: () => check("instance", true, "ok"),
            onFailure: (error) => check("instance", false, `${error.code}: ${error.message}`)
          }),
          Effect.map(draining.begun, (begun) => check("draining", !begun, begun ? "the server is shutting down" : "ok"))
        ])
      })
  )

/** A wrong key, or a ring without the one that seals, takes the replica away: it would refuse what others serve. */
const verified = (held: HeldKeys["Service"]): Effect.Effect<ReadinessCheck> =>
  Effect.match(held.verify, {
    onSuccess: () => check("key", true, "ok"),
    onFailure: (error) =>
      // The store has a check of its own.
      error._tag === "StoreError"
        ? check("key", true, "unknown: the store does not answer")
        : check("key", false, error.code)
  })

const check = (name: string, ok: boolean, reason: string): ReadinessCheck => ({ name, ok, reason })
