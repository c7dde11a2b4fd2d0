import { assert, describe, it } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { Effect, Layer, Option } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newKey, newWrite } from "./internal/rows.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

const accountOf = (key: ConnectionKey) =>
  Effect.map(ConnectionStore.use((store) => store.get(key)), (found) => Option.getOrThrow(found).account)

describe("an account that a replica of the version before does not know of", () => {
  it.live("BIND-13 ends with the life of the connection that it was sealed for, and stays as long as that does", () =>
    Effect.gen(function*() {
      const { sql } = yield* TestDatabase
      const key = newKey()
      const account = Sealed.make(new Uint8Array([1, 2, 3]))
      yield* (yield* ConnectionStore).deposit(key, { ...newWrite(0), account })
      // What such a replica writes when it refreshes, and when it stores a new consent.
      yield* sql`UPDATE connections SET generation = generation + 1, access_token = '\\x00', updated_at = now()
        WHERE tenant = ${key.tenant}`
      assert.deepStrictEqual(yield* accountOf(key), account)
      yield* sql`UPDATE connections SET epoch = epoch, generation = generation + 1 WHERE tenant = ${key.tenant}`
      assert.deepStrictEqual(yield* accountOf(key), account)
      yield* sql`UPDATE connections SET epoch = 'another life', generation = generation + 1
        WHERE tenant = ${key.tenant}`
      assert.isUndefined(yield* accountOf(key))
    }).pipe(Effect.provide(layer)))
})
