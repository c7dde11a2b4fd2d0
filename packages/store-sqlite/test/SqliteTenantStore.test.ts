import { assert, describe, it } from "@effect/vitest"
import { Sealed } from "@valetkey/domain/Sealed"
import { StoreError } from "@valetkey/domain/StoreError"
import { TenantId } from "@valetkey/domain/Tenant"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Duration, Effect, Layer, Option } from "effect"
import { randomBytes } from "node:crypto"
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"
import * as SqliteTenantStore from "../src/SqliteTenantStore.ts"

describe("SqliteTenantStore", () => {
  it.effect("LIFE-02 leaves no byte of a destroyed data key in the files", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const [first, second] = [randomBytes(164), randomBytes(164)]
      const [tenant, other] = [TenantId.make("acme"), TenantId.make("other")]
      const holds = (bytes: Buffer) => holdsIn(directory, bytes)
      yield* Effect.gen(function*() {
        const keys = yield* TenantKeyStore
        const tenants = yield* TenantStore
        yield* keys.create(tenant, { id: 1, dataKey: Sealed.make(new Uint8Array(first)) })
        yield* keys.create(other, { id: 2, dataKey: Sealed.make(new Uint8Array(second)) })
        assert.deepStrictEqual([holds(first), holds(second)], [true, true])
        yield* tenants.begin(tenant)
        assert.strictEqual(yield* tenants.erase(tenant, { patience: Duration.zero, limit: 10 }), "deleted")
        assert.deepStrictEqual([holds(first), holds(second)], [false, true])
      }).pipe(Effect.provide(SqliteStore.layer({ path: join(directory, "store.db") })))
      assert.deepStrictEqual([holds(first), holds(second)], [false, true])
    }).pipe(Effect.scoped))

  it.effect("LIFE-02 leaves nothing of a data key in the log of a process that died before it began the log anew", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const dataKey = randomBytes(164)
      const path = join(directory, "store.db")
      yield* Effect.gen(function*() {
        yield* (yield* TenantKeyStore).create(TenantId.make("acme"), { id: 1, dataKey: Sealed.make(dataKey) })
      }).pipe(Effect.provide(SqliteStore.layer({ path })))
      const dying = new DatabaseSync(path)
      dying.exec("PRAGMA secure_delete = ON; UPDATE tenant_keys SET id = 2; DELETE FROM tenant_keys")
      const left = yield* temporary
      for (const name of ["store.db", "store.db-wal"]) copyFileSync(join(directory, name), join(left, name))
      dying.close()
      assert.isTrue(holdsIn(left, dataKey))
      yield* Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* (yield* TenantKeyStore).find(TenantId.make("acme"))))
        assert.isFalse(holdsIn(left, dataKey))
      }).pipe(Effect.provide(SqliteStore.layer({ path: join(left, "store.db") })))
    }).pipe(Effect.scoped))

  it.effect("LIFE-02 a tenant is gone although the log cannot begin anew", () =>
    Effect.gen(function*() {
      const tenants = yield* TenantStore
      const tenant = TenantId.make("acme")
      yield* tenants.begin(tenant)
      assert.strictEqual(yield* tenants.erase(tenant, { patience: Duration.zero, limit: 10 }), "deleted")
    }).pipe(Effect.provide(SqliteTenantStore.layer.pipe(
      Layer.provide(Layer.effect(
        SqliteDatabase,
        Effect.map(SqliteDatabase, (database) =>
          SqliteDatabase.of({
            ...database,
            read: (operation, step) =>
              operation === "checkpoint"
                ? Effect.fail(new StoreError({ code: "store_unavailable", operation }))
                : database.read(operation, step)
          }))
      )),
      Layer.provide(SqliteDatabase.layer({ path: ":memory:" }))
    ))))
})

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-sqlite-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const holdsIn = (directory: string, bytes: Buffer) =>
  readdirSync(directory).some((name) => readFileSync(join(directory, name)).includes(bytes))
