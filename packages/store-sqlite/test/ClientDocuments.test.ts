import { assert, describe, it } from "@effect/vitest"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { Effect } from "effect"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { storeMigrations } from "../src/internal/migrations.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const idOf = (name: string) => `https://valetkey.example/oauth/context/${name}/client-metadata.json`

const directory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "valetkey-sqlite-"))),
  (directory) => Effect.promise(() => rm(directory, { recursive: true, force: true }))
)

/** Writes a file of the version before there was a record. */
const writeOlder = (path: string): void => {
  const before = storeMigrations.slice(0, 15)
  const file = new DatabaseSync(path)
  for (const statements of before) file.exec(statements)
  file.exec(`PRAGMA user_version = ${before.length}`)
  const register = file.prepare(`INSERT INTO registrations (tenant, server, issuer, transport, client_id, auth_method,
    redirect_uri, scopes) VALUES (?, ?, 'https://as.example', 'gateway', ?, ?, '', '[]')`)
  register.run("a", "1", idOf("registered"), "private_key_jwt")
  register.run("a", "2", idOf("unsigned"), "none")
  register.run("a", "3", "client-1", "private_key_jwt")
  register.run("deleted", "4", idOf("of-deleted"), "private_key_jwt")
  file.exec("INSERT INTO tenant_deletions (tenant, requested_at, quiet_at) VALUES ('deleted', 0, 0)")
  const connect = file.prepare(`INSERT INTO connections (tenant, subject, server, epoch, generation, status, grant_json,
    access_token, token_type, issued_at, created_at, updated_at)
    VALUES ('b', 'ada', ?, 'e', 1, 'active', ?, x'01', 'Bearer', 0, 0, 0)`)
  connect.run("1", JSON.stringify({ clientId: idOf("connected"), authMethod: "private_key_jwt" }))
  connect.run("2", "{ not json")
  file.close()
}

describe("client documents on record", () => {
  it.effect("are those in use when the file came to know of them, and a grant that cannot be read is none", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "store.db")
      writeOlder(path)
      yield* Effect.gen(function*() {
        const registrations = yield* RegistrationStore
        for (const name of ["registered", "connected"]) assert.isTrue(yield* registrations.isOnRecord(idOf(name)), name)
        for (const id of [idOf("unsigned"), idOf("of-deleted"), "client-1"]) {
          assert.isFalse(yield* registrations.isOnRecord(id), id)
        }
      }).pipe(Effect.provide(SqliteStore.layer({ path }), { local: true }))
    }))
})
