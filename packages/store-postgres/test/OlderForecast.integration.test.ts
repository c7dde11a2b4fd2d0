import { assert, describe, it } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { DateTime, Effect, Layer, Option } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

describe("dates of a consent that replicas of versions before write or do not know of", () => {
  it.live("end with the life that they are of, and are those of the next one when it brings some", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const connections = yield* ConnectionStore
      const key = newKey()
      const grantedAt = DateTime.makeUnsafe("2030-01-01T00:00:00.000Z")
      const refreshExpiresAt = DateTime.makeUnsafe("2031-01-01T00:00:00.000Z")
      const dates = Effect.map(connections.get(key), (found) => {
        const { credentials, grantedAt } = Option.getOrThrow(found)
        return [grantedAt, credentials.refreshExpiresAt].map((date) => date && DateTime.formatIso(date))
      })
      for (const previous of [0, 1]) {
        const write = newWrite(previous)
        yield* connections.deposit(key, {
          ...write,
          credentials: { ...write.credentials, refreshExpiresAt },
          grantedAt
        })
      }
      // One that names dates, though not whose they are.
      yield* sql`UPDATE connections SET epoch = 'with dates', generation = generation + 1,
          granted_at = '2030-02-02', refresh_expires_at = '2031-02-02' WHERE tenant = ${key.tenant}`
      assert.deepStrictEqual(yield* dates, ["2030-02-02T00:00:00.000Z", "2031-02-02T00:00:00.000Z"])
      yield* sql`UPDATE connections SET epoch = 'without dates', generation = generation + 1
        WHERE tenant = ${key.tenant}`
      assert.deepStrictEqual(yield* dates, [undefined, undefined])
    }).pipe(Effect.provide(layer)))
})
