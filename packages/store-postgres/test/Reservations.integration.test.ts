import { assert, describe, it } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { TenantId } from "@valetkey/domain/Tenant"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Context, Effect, Layer, type Redacted } from "effect"
import { randomUUID } from "node:crypto"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newAuthorization, newKey, newStart } from "./internal/rows.ts"

const storeAs = (url: Redacted.Redacted, migrate: boolean) =>
  Effect.map(
    Layer.build(Layer.fresh(PostgresStore.layer({ url, migrate }))),
    (context) => Context.get(context, FlowStore)
  )

/** Starts a flow of each key at once and gives what became of each. */
const startAll = (
  flows: FlowStore["Service"],
  keys: ReadonlyArray<ConnectionKey>,
  contextOf: (place: number) => string = () => "context"
) =>
  Effect.all(
    keys.map((key, place) =>
      Effect.result(flows.reserve({
        ...newStart(key),
        frozen: { authorization: { ...newAuthorization(), context: contextOf(place) } }
      }))
    ),
    { concurrency: "unbounded" }
  )

/** In how many transactions the flows of these keys were written, and how many there are. */
const written = (keys: ReadonlyArray<ConnectionKey>) =>
  Effect.gen(function*() {
    const { sql } = yield* TestDatabase
    const [row] = yield* sql<{ transactions: number; flows: number }>`
      SELECT count(DISTINCT xmin::text)::int AS transactions, count(*)::int AS flows FROM flows
      WHERE subject = ANY(${keys.map(({ subject }) => subject)}::text[])`
    return [row?.transactions, row?.flows]
  })

const tenants = Array.from({ length: 3 }, () => TenantId.make(`tenant ${randomUUID()}`))
const keysOf = (count: number) => Array.from({ length: count }, (_, n) => newKey({ tenant: tenants[n % 3]! }))

describe("reservations of one turn", () =>
  it.layer(TestDatabase.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("are one transaction, whosever they are, for the owner of the tables", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const flows = yield* storeAs(url, true)
        const keys = keysOf(30)
        assert.isTrue((yield* startAll(flows, keys)).every(({ _tag }) => _tag === "Success"))
        assert.deepStrictEqual(yield* written(keys), [1, 30])
      }))

    it.effect("I10 are a transaction of each tenant for a role that row-level security applies to", () =>
      Effect.gen(function*() {
        const flows = yield* storeAs(yield* applicationRole, false)
        const keys = keysOf(30)
        assert.isTrue((yield* startAll(flows, keys)).every(({ _tag }) => _tag === "Success"))
        assert.deepStrictEqual(yield* written(keys), [3, 30])
      }))

    it.effect("do without the one that the database refuses, and that one alone fails", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        for (const flows of [yield* storeAs(url, true), yield* storeAs(yield* applicationRole, false)]) {
          const keys = keysOf(10)
          const results = yield* startAll(flows, keys, (place) => place === 4 ? "no text \u0000" : "context")
          assert.deepStrictEqual(
            results.map((result) => result._tag === "Success" ? result.success._tag : result.failure.code),
            keys.map((_, place) => place === 4 ? "store_unavailable" : "Reserved")
          )
        }
      }))

    it.effect("LIFE-02 of a tenant that was looked at before it was marked are refused, one and many", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        // One session: whatever it remembers is there for the next statement.
        const store = yield* Layer.build(Layer.fresh(PostgresStore.layer({ url, migrate: true, maxConnections: 1 })))
        const flows = Context.get(store, FlowStore)
        const tenant = TenantId.make(`tenant ${randomUUID()}`)
        const keys = Array.from({ length: 10 }, () => newKey({ tenant }))
        assert.isTrue((yield* startAll(flows, keys)).every(({ _tag }) => _tag === "Success"))
        yield* Context.get(store, TenantStore).begin(tenant)
        for (const count of [1, 10]) {
          const late = yield* startAll(flows, Array.from({ length: count }, () => newKey({ tenant })))
          assert.deepStrictEqual(
            late.map((result) => result._tag === "Success" ? result.success._tag : result.failure.code),
            late.map(() => "tenant_deleted")
          )
        }
      }))
  }))
