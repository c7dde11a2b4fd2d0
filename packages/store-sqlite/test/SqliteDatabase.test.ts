import { assert, describe, it } from "@effect/vitest"
import { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowId } from "@valetkey/domain/Flow"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { Spool } from "@valetkey/domain/Spool"
import type { StoreError } from "@valetkey/domain/StoreError"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Option } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const key = ConnectionKey.make({
  tenant: TenantId.make("tenant"),
  subject: SubjectId.make("subject"),
  server: ServerSlug.make("server")
})

const freshPath = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "valetkey-sqlite-"))),
    (directory) => Effect.promise(() => rm(directory, { recursive: true, force: true }))
  ),
  (directory) => join(directory, "data", "store.db")
)

const read = (path: string) =>
  Effect.flatMap(ConnectionStore, (connections) => connections.get(key)).pipe(
    Effect.provide(SqliteStore.layer({ path }), { local: true })
  )

const code = (effect: Effect.Effect<unknown, StoreError>) => Effect.map(Effect.flip(effect), (error) => error.code)

const ownerScript = fileURLToPath(new URL("fixtures/owner.ts", import.meta.url))

const owner = (path: string, mode: "hold" | "write") =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const child = spawn(process.execPath, [ownerScript, path, mode], { stdio: ["pipe", "pipe", "inherit"] })
      const lines = createInterface({ input: child.stdout })
      const [said] = await once(lines, "line")
      return { child, lines, said: String(said) }
    }),
    ({ child }) => kill(child)
  )

const kill = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGKILL")
    await once(child, "exit")
  })

describe("one owner", () => {
  it.effect("DAEM-17 refuses a second process with store_locked, and frees the file when the owner is killed", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      const { child, said } = yield* owner(path, "hold")
      assert.strictEqual(said, "open")
      assert.strictEqual(yield* code(read(path)), "store_locked")
      yield* kill(child)
      assert.isTrue(Option.isNone(yield* read(path)))
    }))

  it.effect("DAEM-17 keeps its file when a second owner tries in the same process, and frees the file with the layer", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* code(read(path)), "store_locked")
        const { said } = yield* owner(path, "hold")
        assert.strictEqual(said, "store_locked")
      }).pipe(Effect.provide(SqliteDatabase.layer({ path })))
      assert.isTrue(Option.isNone(yield* read(path)))
    }))
})

describe("durability", () => {
  it.effect("CR-17 I3 keeps every commit that was acknowledged before a kill", () =>
    Effect.gen(function*() {
      for (let round = 1; round <= 3; round++) {
        const path = yield* freshPath
        const { child, lines } = yield* owner(path, "write")
        let acknowledged = 0
        yield* Effect.callback<void>((resume) => {
          lines.on("line", (line) => {
            acknowledged = Number(line)
            if (acknowledged === round * 20) resume(Effect.void)
          })
        })
        const exited = Effect.promise(() => once(lines, "close"))
        yield* Effect.all([kill(child), exited], { concurrency: "unbounded" })
        const connection = Option.getOrThrow(yield* read(path))
        assert.isAtLeast(connection.generation, acknowledged)
        assert.strictEqual(connection.epoch, `epoch-${connection.generation}`)
        assert.strictEqual(connection.credentials.accessToken[0], connection.generation % 256)
      }
    }), 30_000)

  it.effect("FLOW-27 completes a flow that was started before a restart", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      const boot = <A, E>(effect: Effect.Effect<A, E, FlowStore | ConnectionStore>) =>
        effect.pipe(Effect.provide(SqliteStore.layer({ path }), { local: true }))
      const id = FlowId.make("01890a5d-ac96-774b-bcce-b302099a8057")
      const [stateHash, bindingHash] = [Digest.make("s".repeat(43)), Digest.make("b".repeat(43))]
      const grant = {
        issuer: "https://as.example",
        tokenEndpoint: "https://as.example/token",
        clientId: "client",
        authMethod: "none",
        redemptionPolicy: "strict"
      } as const
      yield* boot(Effect.flatMap(FlowStore, (flows) =>
        Effect.andThen(
          flows.reserve({
            id,
            key,
            transport: "gateway",
            confirmation: "none",
            onConflict: "reject",
            ttl: Duration.minutes(10)
          }),
          flows.freeze(id, {
            snapshot: {
              authorizationEndpoint: "https://as.example/authorize",
              redirectUri: "https://valetkey.example/callback/ctx",
              issRequired: false,
              scopes: []
            },
            grant,
            stateHash,
            bindingHash,
            context: "ctx",
            codeVerifier: Sealed.make(new Uint8Array([1, 2, 3]))
          })
        )))
      const claimed = yield* boot(Effect.flatMap(FlowStore, (flows) =>
        flows.claim({ stateHash, bindingHash, context: "ctx", lease: Duration.minutes(1) })))
      const { authorization, fence } = Option.getOrThrow(claimed)
      assert.deepStrictEqual([...authorization.codeVerifier], [1, 2, 3])
      const completion = yield* boot(Effect.flatMap(FlowStore, (flows) =>
        flows.complete(id, fence, {
          epoch: Epoch.make("epoch"),
          previous: 0,
          grant,
          credentials: {
            accessToken: Sealed.make(new Uint8Array([4])),
            tokenType: "Bearer",
            issuedAt: DateTime.makeUnsafe(0)
          }
        })))
      assert.strictEqual(completion._tag, "Completed")
      assert.deepStrictEqual([...Option.getOrThrow(yield* read(path)).credentials.accessToken], [4])
    }))
})

describe("files", () => {
  it.effect("DAEM-15 makes a private directory and private files", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      yield* Effect.gen(function*() {
        yield* Effect.flatMap(Spool, (spool) => spool.remove("unknown"))
        assert.strictEqual(statSync(dirname(path)).mode & 0o777, 0o700)
        for (const file of readdirSync(dirname(path))) {
          assert.strictEqual(statSync(join(dirname(path), file)).mode & 0o777, 0o600, file)
        }
        assert.isTrue(existsSync(`${path}-wal`))
        assert.isTrue(existsSync(`${path}.spool`))
      }).pipe(Effect.provide(SqliteStore.layer({ path })))
    }))

  it.effect("DAEM-15 narrows the mode of a file that was there", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      yield* read(path)
      chmodSync(path, 0o644)
      yield* read(path)
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
    }))

  it.effect("reports a file that is no database as store_corrupt and leaves it as it is", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      mkdirSync(dirname(path), { recursive: true })
      const garbage = Buffer.alloc(8192, "not a database")
      writeFileSync(path, garbage)
      assert.strictEqual(yield* code(read(path)), "store_corrupt")
      assert.isTrue(readFileSync(path).equals(garbage))
    }))

  it.effect("reports pages that were overwritten as store_corrupt", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      yield* read(path)
      const bytes = readFileSync(path)
      writeFileSync(path, bytes.fill(0xff, 4096))
      assert.strictEqual(yield* code(read(path)), "store_corrupt")
    }))

  it.effect("CR-14 reports a row that cannot be read as store_corrupt, and serves the others", () =>
    Effect.gen(function*() {
      const connections = yield* ConnectionStore
      const database = yield* SqliteDatabase
      const insert = (server: string, grant: string) =>
        database.write("test", (session) =>
          session.run(
            `INSERT INTO connections (tenant, subject, server, epoch, generation, status, grant_json, access_token,
               token_type, issued_at, created_at, updated_at)
             VALUES ('tenant', 'subject', ?, 'e', 1, 'active', ?, x'01', 'Bearer', 0, 0, 0)`,
            server,
            grant
          ))
      yield* insert("server", "{ not json")
      yield* insert("other", "{}")
      assert.strictEqual(yield* code(connections.get(key)), "store_corrupt")
      const other = ConnectionKey.make({ ...key, server: ServerSlug.make("other") })
      assert.isTrue(Option.isSome(yield* connections.get(other)))
    }).pipe(Effect.provide(SqliteStore.layer({ path: ":memory:" }))))

  it.effect("refuses a file of a newer schema and leaves it as it is", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      yield* read(path)
      const version = (change?: number) => {
        const file = new DatabaseSync(path)
        if (change !== undefined) file.exec(`PRAGMA user_version = ${change}`)
        const found = file.prepare("PRAGMA user_version").get()?.["user_version"]
        file.close()
        return found
      }
      version(99)
      const error = yield* Effect.flip(read(path))
      assert.strictEqual(error.code, "store_unavailable")
      assert.include(String(error.cause), "schema version 99")
      assert.strictEqual(version(), 99)
    }))

  it.effect("says store_unavailable when the directory cannot be made", () =>
    Effect.gen(function*() {
      const path = yield* freshPath
      mkdirSync(dirname(dirname(path)), { recursive: true })
      writeFileSync(dirname(path), "a file where the directory should be")
      assert.strictEqual(yield* code(read(path)), "store_unavailable")
    }))
})

describe("schema", () => {
  it.effect("S1.8 I8 cannot hold two open flows of one connection, nor a tenant's row without its tenant", () =>
    Effect.gen(function*() {
      const database = yield* SqliteDatabase
      const insert = (id: string, state: string, tenant: string | null) =>
        database.write("test", (session) =>
          session.run(
            `INSERT INTO flows (tenant, id, subject, server, state, transport, confirmation, newest, created_at,
               expires_at) VALUES (?, ?, 's', 'x', ?, 'gateway', 'none', 0, 0, 0)`,
            tenant,
            id,
            state
          ))
      assert.strictEqual(yield* insert("1", "pending", "t"), 1)
      assert.strictEqual(yield* code(insert("2", "exchanging", "t")), "store_unavailable")
      assert.strictEqual(yield* insert("2", "exchanging", "u"), 1)
      assert.strictEqual(yield* code(insert("3", "pending", null)), "store_unavailable")
    }).pipe(Effect.provide(SqliteDatabase.layer({ path: ":memory:" }))))

  it.effect("rolls a step back whole when a part of it fails", () =>
    Effect.gen(function*() {
      const database = yield* SqliteDatabase
      const count = database.read(
        "test",
        (session) => session.one<{ readonly n: number }>("SELECT count(*) AS n FROM servers")?.n
      )
      const failing = database.write("test", (session) => {
        session.run("INSERT INTO servers (tenant, slug, description) VALUES ('t', 'a', '{}')")
        session.run("INSERT INTO servers (tenant, slug, description) VALUES ('t', 'a', '{}')")
      })
      assert.strictEqual(yield* code(failing), "store_unavailable")
      assert.strictEqual(yield* count, 0)
    }).pipe(Effect.provide(SqliteDatabase.layer({ path: ":memory:" }))))
})
