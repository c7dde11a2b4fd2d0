import { Effect, Redacted, type Scope } from "effect"
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { extname } from "node:path"
import { createInterface } from "node:readline"
import pg from "pg"
import * as Emitted from "./Emitted.ts"

/** A running PostgreSQL; the URL is that of its superuser. */
export interface PostgresServer {
  readonly url: Redacted.Redacted
  readonly dataDir: string
  /** Stops the server at once, as `pg_ctl -m immediate` does, and starts it again; returns when it accepts connections. */
  readonly crash: Effect.Effect<void>
}

/** A database of its own for one test file. */
export interface Database {
  readonly url: Redacted.Redacted
  readonly name: string
}

/** Environment variable with the address at which {@link file://./PostgresSetup.ts} hands out the server of the run. */
export const variable = "VALETKEY_TEST_POSTGRES"

/**
 * Starts a PostgreSQL of its own in a temporary directory on a free port until the scope closes.
 *
 * It is durable (`fsync` on). Server and files also go when this process is killed. `onStopped` sees the data
 * directory after the shutdown and before the removal.
 */
export const make = (
  options: { readonly onStopped?: (dataDir: string) => Effect.Effect<void> } = {}
): Effect.Effect<PostgresServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startGuard()),
    (guard) =>
      Effect.promise(() => guard.stop()).pipe(
        Effect.andThen(options.onStopped?.(guard.dataDir) ?? Effect.void),
        Effect.ensuring(Effect.promise(() => guard.end()))
      )
  )

/** The server of this run: `DATABASE_URL`, else the one the global setup starts on first use, else one of its own. */
export const server: Effect.Effect<Redacted.Redacted, never, Scope.Scope> = Effect.suspend(() => {
  const configured = process.env["DATABASE_URL"]
  if (configured !== undefined && configured !== "") return Effect.succeed(Redacted.make(configured))
  const broker = process.env[variable]
  if (broker === undefined) return Effect.map(make(), ({ url }) => url)
  return Effect.promise(async () => {
    const response = await fetch(broker)
    if (!response.ok) throw new Error(`PostgreSQL of the run did not start: ${await response.text()}`)
    return Redacted.make(await response.text())
  })
})

/** Creates a fresh database and drops it when the scope closes; its rows go to the canary scan first. */
export const database: Effect.Effect<Database, never, Scope.Scope> = Effect.suspend(() => create(""))

/** Copies a database as a restored backup would be one, and drops the copy when the scope closes. Ends the original's sessions. */
export const copyOf = ({ name }: Database): Effect.Effect<Database, never, Scope.Scope> =>
  Effect.gen(function*() {
    const admin = yield* server
    yield* Effect.promise(() =>
      query(admin, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '${name}'`)
    )
    return yield* create(` TEMPLATE ${name}`)
  })

/**
 * The URL of a role that may read and write the rows of a database's tables, those to come included, and nothing else.
 * Row-level security applies to it, as it does not to the owner. The role goes when the scope closes.
 */
export const applicationRole = (url: Redacted.Redacted): Effect.Effect<Redacted.Redacted, never, Scope.Scope> => {
  const own = new URL(Redacted.value(url))
  const role = `rows_${own.pathname.slice(1)}`
  const rights = "SELECT, INSERT, UPDATE, DELETE"
  return Effect.acquireRelease(
    Effect.promise(async () => {
      await query(url, `CREATE ROLE ${role} LOGIN PASSWORD 'rows'`)
      await query(url, `GRANT ${rights} ON ALL TABLES IN SCHEMA public TO ${role}`)
      await query(url, `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ${rights} ON TABLES TO ${role}`)
      own.username = role
      own.password = "rows"
      return Redacted.make(own.href)
    }),
    () => Effect.promise(() => query(url, `DROP OWNED BY ${role}; DROP ROLE ${role}`))
  )
}

/** Runs statements in a session of their own and returns the rows of the last one. */
export const statement = (
  url: Redacted.Redacted,
  text: string
): Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>> => Effect.promise(() => query(url, text))

/** Every row of every table as text, for what must not have changed any. */
export const rowsOf = ({ url }: Database): Effect.Effect<string> => Effect.promise(() => dump(url))

const create = Effect.fnUntraced(function*(from: string) {
  const admin = yield* server
  const name = `test_${randomBytes(8).toString("hex")}`
  const url = new URL(Redacted.value(admin))
  url.pathname = `/${name}`
  return yield* Effect.acquireRelease(
    Effect.promise(async (): Promise<Database> => {
      await query(admin, `CREATE DATABASE ${name}${from}`)
      return { url: Redacted.make(url.href), name }
    }),
    (database) =>
      Effect.promise(async () => {
        if (Emitted.active()) Emitted.record("database", await dump(database.url))
        await query(admin, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
      })
  )
})

const query = async (url: Redacted.Redacted, text: string): Promise<ReadonlyArray<Record<string, unknown>>> => {
  const client = new pg.Client({ connectionString: Redacted.value(url) })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** Every row of every table as text: what a dump shows, with compressed values unpacked. */
const dump = async (url: Redacted.Redacted): Promise<string> => {
  const tables = await query(
    url,
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
     WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`
  )
  const parts: Array<string> = []
  for (const { name } of tables) {
    for (const { line } of await query(url, `SELECT t::text AS line FROM ${String(name)} t`)) {
      parts.push(`${String(name)}\t${String(line)}`)
    }
  }
  return parts.join("\n")
}

interface Guard extends PostgresServer {
  readonly stop: () => Promise<void>
  readonly end: () => Promise<void>
}

const startGuard = async (): Promise<Guard> => {
  const script = new URL(`./internal/postgresGuard${extname(import.meta.url)}`, import.meta.url)
  const child = spawn(process.execPath, [script.pathname], {
    stdio: ["pipe", "pipe", "pipe"],
    // Away from the terminal's process group: Ctrl-C reaches it through the pipe, after the runner is done.
    detached: true,
    env: { ...process.env, NODE_OPTIONS: "" }
  })
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  let complaint = ""
  child.stderr.on("data", (chunk) => complaint += String(chunk))
  // The server outlives no one, so it must not keep this process alive either.
  child.unref()
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<Record<string, unknown>> => {
    const next = await lines.next()
    if (next.done === true) throw new Error(`PostgreSQL did not start: ${complaint}`)
    return JSON.parse(next.value) as Record<string, unknown>
  }
  const ready = await line()
  return {
    url: Redacted.make(String(ready["url"])),
    dataDir: String(ready["dataDir"]),
    crash: Effect.promise(async () => {
      child.stdin.write("crash\n")
      await line()
    }),
    stop: async () => {
      child.ref()
      child.stdin.write("stop\n")
      await line()
    },
    end: async () => {
      child.stdin.end()
      await exited
    }
  }
}
