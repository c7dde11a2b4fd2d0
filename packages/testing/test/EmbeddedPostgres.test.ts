import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { createInterface } from "node:readline"
import pg from "pg"

const query = (url: string, text: string) =>
  Effect.promise(async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return (await client.query(text)).rows as ReadonlyArray<Record<string, unknown>>
    } finally {
      await client.end()
    }
  })

describe("EmbeddedPostgres", () => {
  it.live("gives each scope a database of its own on a durable server and drops it", () =>
    Effect.gen(function*() {
      const admin = Redacted.value(yield* EmbeddedPostgres.server)
      const names = yield* Effect.scoped(Effect.gen(function*() {
        const [one, two] = yield* Effect.all([EmbeddedPostgres.database, EmbeddedPostgres.database])
        yield* query(Redacted.value(one.url), "CREATE TABLE t (v bytea)")
        assert.deepStrictEqual(
          yield* query(Redacted.value(two.url), "SELECT to_regclass('t') AS found, current_setting('fsync') AS fsync"),
          [{ found: null, fsync: "on" }]
        )
        return [one.name, two.name]
      }))
      const left = yield* query(admin, "SELECT datname FROM pg_database")
      for (const name of names) assert.notInclude(left.map(({ datname }) => datname), name)
    }).pipe(Effect.scoped), 30_000)

  it.live("leaves neither server nor files when its owner is killed", () =>
    Effect.gen(function*() {
      const script = `
        import * as EmbeddedPostgres from ${JSON.stringify(import.meta.resolve("@valetkey/testing/EmbeddedPostgres"))}
        import { Effect, Redacted } from "effect"
        await Effect.runPromise(Effect.scoped(EmbeddedPostgres.make().pipe(
          Effect.tap(({ dataDir, url }) => Effect.sync(() => console.log(dataDir + " " + Redacted.value(url)))),
          Effect.andThen(Effect.never))))`
      const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
        cwd: import.meta.dirname,
        stdio: ["ignore", "pipe", "inherit"]
      })
      const [dataDir = "", url = ""] = yield* Effect.promise(async () => {
        for await (const line of createInterface({ input: owner.stdout })) return line.split(" ")
        return []
      })
      assert.isTrue(existsSync(dataDir))
      assert.strictEqual((yield* query(url, "SELECT 1 AS one")).length, 1)
      const closed = new Promise<void>((resolve) => {
        const client = new pg.Client({ connectionString: url })
        client.on("error", () => resolve())
        client.on("end", () => resolve())
        void client.connect().then(() => owner.kill("SIGKILL"))
      })
      yield* Effect.promise(() => closed)
      yield* Effect.promise(async () => {
        while (existsSync(dataDir)) await new Promise((resolve) => setImmediate(resolve))
      })
    }), 30_000)

  it.live("crashes without a farewell and comes back with everything that was committed", () =>
    Effect.gen(function*() {
      const { crash, url } = yield* EmbeddedPostgres.make()
      yield* EmbeddedPostgres.statement(url, "CREATE TABLE kept AS SELECT 1 AS one")
      const client = new pg.Client({ connectionString: Redacted.value(url) })
      const lost = new Promise<void>((resolve) => client.on("error", () => resolve()))
      yield* Effect.promise(() => client.connect())
      yield* crash
      yield* Effect.promise(() => lost)
      assert.deepStrictEqual(yield* EmbeddedPostgres.statement(url, "SELECT one FROM kept"), [{ one: 1 }])
    }).pipe(Effect.scoped), 60_000)
})
