import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as HotToken from "@valetkey/http/HotToken"
import { SqliteDatabase } from "@valetkey/store-sqlite/SqliteDatabase"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { DateTime, Effect, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { SQLInputValue } from "node:sqlite"
import * as Composition from "../src/Composition.ts"
import * as LocalFiles from "../src/LocalFiles.ts"
import * as Settings from "../src/Settings.ts"

const key = new ConnectionKey({
  tenant: TenantId.make("local"),
  subject: SubjectId.make("local"),
  server: ServerSlug.make("mcp")
})

const bootToken = Redacted.make(randomBytes(32).toString("base64url"))

/** The local profile as it is shipped, without its listeners. */
const installation = Layer.unwrap(Effect.gen(function*() {
  const home = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vka-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const settings = yield* Settings.load({ VALETKEY_HOME: join(home, "home") })
  if (settings.profile !== "local") return yield* Effect.die("not the local profile")
  const instanceId = yield* LocalFiles.prepare(settings.home, settings)
  return Composition.layerLocal(settings, { instanceId, bootToken })
}))

const alarms = Effect.gen(function*() {
  yield* (yield* AuditTrail).flush
  const events = yield* (yield* AuditLog).read({ tenant: key.tenant, after: 0, limit: 100 })
  return events.filter((event) => event.action === "connection.rolled_back")
})

/** The only connection's whole row, as somebody with the file at hand would copy it. */
const copy = Effect.flatMap(
  SqliteDatabase,
  (database) =>
    database.read("copy", (session) => session.one<Record<string, SQLInputValue>>("SELECT * FROM connections")!)
)

const restore = (row: Record<string, SQLInputValue>) =>
  Effect.flatMap(SqliteDatabase, (database) =>
    database.write("restore", (session) => {
      const names = Object.keys(row)
      session.run(
        `INSERT OR REPLACE INTO connections (${names.join()}) VALUES (${names.map(() => "?").join()})`,
        ...Object.values(row)
      )
    }))

/** Asks for the token on the short way alone; whatever does not take it is answered with 599. */
const askHot = Effect.gen(function*() {
  const hot = yield* HotToken.make()
  const server = createServer((_, response) => void response.writeHead(599).end())
  HotToken.attach(server, hot)
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () => Effect.sync(() => (server.close(), server.closeAllConnections()))
  )
  const { port } = server.address() as AddressInfo
  return Effect.promise(async () => {
    const response = await fetch(`http://127.0.0.1:${port}/v1/connections/mcp/token`, {
      method: "POST",
      headers: { authorization: `Bearer ${Redacted.value(bootToken)}`, host: `localhost:${port}` }
    })
    return response.status === 200 ? await response.json() as { readonly generation: number } : response.status
  })
})

describe("a row that goes back on a live process", () => {
  it.live("CRY-10 raises the alarm on the short way and on the long one, and is served", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const tokens = yield* AccessTokens
      const { refreshToken } = provider.grant()
      const issuedAt = yield* DateTime.now
      yield* (yield* Connections).deposit(key, {
        grant: {
          issuer: provider.issuer,
          tokenEndpoint: `${provider.issuer}/token`,
          clientId: "fake-client",
          authMethod: "none",
          resource: provider.resource,
          redemptionPolicy: "strict"
        },
        credentials: {
          accessToken: provider.grant().accessToken,
          refreshToken,
          tokenType: "Bearer",
          issuedAt,
          expiresAt: DateTime.add(issuedAt, { hours: 1 })
        }
      })
      const first = yield* tokens.get(key)
      const old = yield* copy
      assert.strictEqual((yield* tokens.get(key, { rejected: first.accessToken })).generation, 2)
      const ask = yield* askHot
      assert.deepInclude(yield* ask, { generation: 2 })
      assert.deepStrictEqual(yield* alarms, [])

      yield* restore(old)
      assert.deepInclude(yield* ask, { generation: 1 })
      assert.deepInclude(yield* ask, { generation: 1 })
      const [alarm, ...others] = yield* alarms
      assert.deepStrictEqual(others, [])
      assert.deepInclude(alarm as object, { outcome: "rollback_detected", generation: 1, server: "mcp" })
      const lines = yield* (yield* LogRecorder).lines
      assert.lengthOf(lines.filter((line) => line.includes("\"rollback_detected\"")), 1)

      const newer = { ...old, generation: 7 }
      yield* restore(newer)
      yield* Effect.ignore(tokens.get(key))
      yield* restore(old)
      yield* tokens.get(key)
      assert.lengthOf(yield* alarms, 2)
    })).pipe(Effect.provide(installation), Effect.provide(LogRecorder.layer)))
})
