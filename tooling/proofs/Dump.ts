import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Context, Effect, Redacted } from "effect"
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

/** What somebody has who can read a store and no more. */
export interface Dump {
  /** Every row as text, bytes in hexadecimal behind `\x`, in an order of its own. */
  readonly rows: ReadonlyArray<string>
  /** Files as they lie on the disk. */
  readonly files: ReadonlyArray<Uint8Array>
}

/** Dumps the state of a store in memory. */
export const ofMemory = (context: Context.Context<MemoryWorld>): Effect.Effect<Dump> =>
  Effect.sync(() => ({
    rows: Object.entries(Context.get(context, MemoryWorld)).flatMap(([table, rows]) =>
      (Symbol.iterator in rows ? [...rows as Iterable<unknown>] : [rows]).map((row) => `${table}\t${textOf(row)}`)
    ).sort(),
    files: []
  }))

/** Dumps a database of PostgreSQL. */
export const ofPostgres = (database: EmbeddedPostgres.Database): Effect.Effect<Dump> =>
  Effect.map(EmbeddedPostgres.rowsOf(database), (text) => ({ rows: text.split("\n").sort(), files: [] }))

/** Dumps the database and the spool of SQLite at a path, while their owner goes on. */
export const ofSqlite = (path: string): Effect.Effect<Dump> =>
  Effect.sync(() => {
    const copies = mkdtempSync(join(tmpdir(), "vk-"))
    try {
      const files = [path, `${path}-wal`, `${path}.spool`, `${path}.spool-wal`].filter((file) => existsSync(file))
      // Another process reads: to close a file here would let go of the lock that its owner has on it (POSIX).
      execFileSync("cp", [...files, copies])
      const names = files.map((file) => join(copies, file.slice(path.lastIndexOf("/") + 1)))
      const bytes = names.map((name) => readFileSync(name))
      return { rows: names.filter((name) => !name.endsWith("-wal")).flatMap(rowsOf).sort(), files: bytes }
    } finally {
      rmSync(copies, { recursive: true })
    }
  })

const rowsOf = (path: string): ReadonlyArray<string> => {
  const database = new DatabaseSync(path)
  try {
    return database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all().flatMap(({ name }) =>
      database.prepare(`SELECT * FROM "${String(name)}"`).all().map((row) => `${String(name)}\t${textOf({ ...row })}`)
    )
  } finally {
    database.close()
  }
}

/** A value with all that it holds; what is redacted in memory is there all the same. */
const textOf = (value: unknown): string =>
  JSON.stringify(value, function(this: Readonly<Record<string, unknown>>, name, shown: unknown) {
    const held = this[name]
    if (Redacted.isRedacted(held)) return Redacted.value(held)
    if (held instanceof Uint8Array) return `\\x${Buffer.from(held).toString("hex")}`
    return held instanceof Map ? [...held] : typeof shown === "bigint" ? String(shown) : shown
  }) ?? ""

/** Everything in a dump that could be a value, in every form that somebody would try. */
export const valuesOf = ({ rows }: Dump): ReadonlyArray<string> => {
  const values = new Set<string>()
  for (const row of rows) {
    for (const [word] of row.matchAll(/[\w.~:/?&=%+-]{8,}/g)) values.add(word)
    for (const [word] of row.matchAll(/[\w-]{8,}/g)) values.add(word)
    for (const [, hex] of row.matchAll(/\\x([0-9a-f]{2,})/g)) {
      const bytes = Buffer.from(hex!, "hex")
      for (const encoding of ["hex", "base64", "base64url", "latin1"] as const) values.add(bytes.toString(encoding))
    }
  }
  return [...values]
}
