import { assert, describe, it } from "@effect/vitest"
import * as ConnectionStoreContract from "@valetkey/testing/ConnectionStoreContract"
import * as FlowStoreContract from "@valetkey/testing/FlowStoreContract"
import * as RevocationOutboxContract from "@valetkey/testing/RevocationOutboxContract"
import * as SignalsContract from "@valetkey/testing/SignalsContract"
import { Context, Effect, Layer } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { advance, tamper, TestDatabase } from "./internal/realPostgres.ts"
import * as TransactionPooler from "./internal/transactionPooler.ts"

class Pooler extends Context.Service<Pooler, TransactionPooler.TransactionPooler>()("test/Pooler") {
  static readonly asOwner = Layer.effect(
    Pooler,
    Effect.flatMap(TestDatabase, ({ url }) => TransactionPooler.make(url))
  )
  /** Row-level security applies to this role: what one tenant's transaction set must not reach the next. */
  static readonly asApplication = Layer.effect(Pooler, Effect.flatMap(applicationRole, TransactionPooler.make))
}

const through = <E>(pooler: Layer.Layer<Pooler, E, TestDatabase>) =>
  Layer.unwrap(Effect.gen(function*() {
    const { url: directUrl } = yield* TestDatabase
    const { url } = yield* Pooler
    return PostgresStore.layer({ url, directUrl, pooler: true, maxConnections: 4 })
  })).pipe(Layer.provideMerge(pooler), Layer.provideMerge(TestDatabase.layer))

const options = { advance, tamper, histories: 20 }

describe.each([
  { name: "behind a pooler in transaction mode", layer: through(Pooler.asOwner) },
  { name: "I10 behind it as a role that owns nothing", layer: through(Pooler.asApplication) }
])("$name", ({ layer }) =>
  it.layer(layer, { timeout: "60 seconds" })((it) => {
    describe("FlowStore", () => FlowStoreContract.cases(it, options))
    describe("ConnectionStore", () => ConnectionStoreContract.cases(it, options))
    describe("RevocationOutbox", () => RevocationOutboxContract.cases(it, options))
    describe("Signals", () => SignalsContract.cases(it))

    it.effect("DB-09 served all of that although sessions changed hands between transactions", () =>
      Effect.gen(function*() {
        assert.isAbove((yield* Pooler).switches(), 100)
      }))

    it.effect("refuses to start with settings that a pooler cannot keep apart", () =>
      Effect.gen(function*() {
        const { url } = yield* Pooler
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(PostgresStore.layer({ url })))))
        assert.strictEqual(error.code, "store_unavailable")
      }))
  }))
