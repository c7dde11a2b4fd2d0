import { assert, describe, it } from "@effect/vitest"
import { Sealed } from "@valetkey/domain/Sealed"
import { TenantId } from "@valetkey/domain/Tenant"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { Duration, Effect } from "effect"
import { randomBytes } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqliteStore from "../src/SqliteStore.ts"

describe("SqliteTenantStore", () => {
  it.effect("LIFE-02 leaves no byte of a destroyed data key in the files", () =>
    Effect.gen(function*() {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-sqlite-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const [first, second] = [randomBytes(164), randomBytes(164)]
      const [tenant, other] = [TenantId.make("acme"), TenantId.make("other")]
      const holds = (bytes: Buffer) =>
        readdirSync(directory).some((name) => readFileSync(join(directory, name)).includes(bytes))
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
})
