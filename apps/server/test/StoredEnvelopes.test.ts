import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { isUnderTenantKey } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { SqliteDatabase } from "@valetkey/store-sqlite/SqliteDatabase"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { DateTime, Effect, Layer, Redacted } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Composition from "../src/Composition.ts"
import * as LocalFiles from "../src/LocalFiles.ts"
import * as Settings from "../src/Settings.ts"

type Column = "access_token" | "refresh_token" | "client_secret"

/** The local profile as it is shipped, without its listeners. */
const installation = (tenantKeys: boolean) =>
  Layer.unwrap(Effect.gen(function*() {
    const home = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vke-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const settings = yield* Settings.load({
      VALETKEY_HOME: join(home, "home"),
      VALETKEY_TENANT_KEYS: String(tenantKeys)
    })
    if (settings.profile !== "local") return yield* Effect.die("not the local profile")
    const instanceId = yield* LocalFiles.prepare(settings.home, settings)
    return Composition.layerLocal(settings, { instanceId, bootToken: LocalFiles.newToken() })
  }))

/** As if the token that was just obtained were no answer to a refusal: another one may follow at once. */
const unbrake = Effect.flatMap(
  SqliteDatabase,
  (database) => database.write("test", (session) => session.run("UPDATE connections SET forced = 0"))
)

const keyOf = (tenant: string, subject: string, server: string) =>
  new ConnectionKey({
    tenant: TenantId.make(tenant),
    subject: SubjectId.make(subject),
    server: ServerSlug.make(server)
  })

/** Deposits a connection with every secret it can have. */
const deposit = Effect.fnUntraced(function*(provider: FakeProvider.FakeProvider, key: ConnectionKey) {
  const { accessToken, refreshToken } = provider.grant()
  const issuedAt = yield* DateTime.now
  yield* (yield* Connections).deposit(key, {
    grant: {
      issuer: provider.issuer,
      tokenEndpoint: `${provider.issuer}/token`,
      clientId: "fake-client",
      authMethod: "client_secret_basic",
      resource: provider.resource,
      redemptionPolicy: "strict"
    },
    clientSecret: Redacted.make("a client secret"),
    credentials: {
      accessToken,
      refreshToken,
      tokenType: "Bearer",
      issuedAt,
      expiresAt: DateTime.add(issuedAt, { hours: 1 })
    }
  })
  return accessToken
})

/** The row, but for how far a refresh got: opening the refresh token begins with taking the lease. */
const rowOf = (key: ConnectionKey) =>
  Effect.flatMap(SqliteDatabase, (database) =>
    database.read("row", (session) =>
      session.one<Record<string, unknown>>(
        `SELECT epoch, generation, status, reason, grant_json, client_secret, access_token, refresh_token, attempts,
           rejected, expires_at FROM connections WHERE tenant = ? AND subject = ? AND server = ?`,
        key.tenant,
        key.subject,
        key.server
      )!))

const write = (key: ConnectionKey, column: Column, bytes: Uint8Array) =>
  Effect.flatMap(SqliteDatabase, (database) =>
    database.write("plant", (session) =>
      session.run(
        `UPDATE connections SET ${column} = ?, phase = 'idle', lease_until = 0, not_before = 0
         WHERE tenant = ? AND subject = ? AND server = ?`,
        bytes,
        key.tenant,
        key.subject,
        key.server
      )))

/** Uses the secret in the column: an access token is handed out, the others are needed for a refresh. */
const use = (key: ConnectionKey, column: Column, current: Redacted.Redacted) =>
  Effect.flatMap(
    AccessTokens,
    (tokens) => tokens.get(key, column === "access_token" ? {} : { rejected: current })
  )

/** Plants bytes, uses them, and checks that nothing came of it. */
const refuses = Effect.fnUntraced(function*(
  key: ConnectionKey,
  column: Column,
  bytes: Uint8Array,
  current: Redacted.Redacted,
  what: string
) {
  yield* write(key, column, bytes)
  const planted = { ...(yield* rowOf(key)), rejected: 0 }
  const error = yield* Effect.flip(use(key, column, current))
  assert.strictEqual(error.code, "integrity_error", what)
  assert.deepStrictEqual({ ...(yield* rowOf(key)), rejected: 0 }, planted, what)
})

const columns: ReadonlyArray<Column> = ["access_token", "refresh_token", "client_secret"]

describe.each([false, true])("stored envelopes, data keys of tenants: %s", (tenantKeys) => {
  it.live(
    "CRY-06 CRY-07 every bit that is flipped and every end that is cut off is refused, calls nobody and changes nothing",
    () =>
      Effect.gen(function*() {
        const provider = yield* FakeProvider.make()
        const key = keyOf("local", "local", "notes")
        const current = yield* deposit(provider, key)
        const row = yield* rowOf(key)
        for (const column of columns) {
          const intact = row[column] as Uint8Array
          assert.strictEqual(isUnderTenantKey(intact), tenantKeys)
          for (let bit = 0; bit < intact.length * 8; bit++) {
            const flipped = Uint8Array.from(intact)
            flipped[bit >> 3]! ^= 1 << (bit & 7)
            yield* refuses(key, column, flipped, current, `${column} bit ${bit}`)
          }
          for (const length of [0, 4, 8, 99, intact.length - 12, intact.length - 8, intact.length - 1]) {
            yield* refuses(key, column, intact.slice(0, length), current, `${column} cut to ${length}`)
          }
          yield* refuses(key, column, Buffer.from("a planted token"), current, `${column} as plaintext`)
          yield* write(key, column, intact)
        }
        assert.strictEqual(provider.requests("token").length, 0)
        // The intact row still works: the token that was called refused is replaced, once.
        assert.strictEqual((yield* use(key, "access_token", current)).generation, 2)
        assert.strictEqual(provider.requests("token").length, 1)
      }).pipe(Effect.provide(installation(tenantKeys)), Effect.scoped),
    180_000
  )

  it.live("CRY-08 CRY-09 an envelope of another row, tenant, column or generation is refused and calls nobody", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const key = keyOf("local", "local", "notes")
      const current = yield* deposit(provider, key)
      const first = yield* rowOf(key)
      const others = [
        keyOf("local", "local", "mail"),
        keyOf("local", "eve", "notes"),
        keyOf("evil", "local", "notes")
      ]
      for (const other of others) yield* deposit(provider, other)
      for (const column of columns) {
        for (const other of others) {
          const foreign = (yield* rowOf(other))[column] as Uint8Array
          yield* refuses(key, column, foreign, current, `${column} of ${other.path}`)
        }
        for (const sibling of columns) {
          if (sibling === column) continue
          yield* refuses(key, column, first[sibling] as Uint8Array, current, `${sibling} in ${column}`)
        }
        yield* write(key, column, first[column] as Uint8Array)
      }
      assert.strictEqual(provider.requests("token").length, 0)

      const next = yield* use(key, "refresh_token", current)
      assert.strictEqual(next.generation, 2)
      yield* unbrake
      for (const column of ["access_token", "refresh_token"] as const) {
        const now = yield* rowOf(key)
        yield* refuses(key, column, first[column] as Uint8Array, next.accessToken, `${column} of generation 1`)
        yield* write(key, column, now[column] as Uint8Array)
      }
      const latest = yield* deposit(provider, key)
      for (const column of columns) {
        const now = yield* rowOf(key)
        yield* refuses(key, column, first[column] as Uint8Array, latest, `${column} of a former life`)
        yield* write(key, column, now[column] as Uint8Array)
      }
      assert.strictEqual(provider.requests("token").length, 1)
    }).pipe(Effect.provide(installation(tenantKeys)), Effect.scoped))
})
