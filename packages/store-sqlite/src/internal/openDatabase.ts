import type { StoreError } from "@valetkey/domain/StoreError"
import { Effect, type Scope } from "effect"
import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { CorruptRow, NewerSchema, storeError } from "./storeError.ts"

/** Statements on one database, each prepared once. */
export interface Session {
  /** The first row, if there is one. The caller names what the statement selects. */
  readonly one: <Row>(sql: string, ...values: ReadonlyArray<SQLInputValue>) => Row | undefined
  /** The values of the first row in the order of its columns: a third less work, for what is read at every request. */
  readonly tuple: (sql: string, ...values: ReadonlyArray<SQLInputValue>) => ReadonlyArray<never> | undefined
  readonly all: <Row>(sql: string, ...values: ReadonlyArray<SQLInputValue>) => ReadonlyArray<Row>
  /** How many rows changed. */
  readonly run: (sql: string, ...values: ReadonlyArray<SQLInputValue>) => number
}

/** One open database: operations are synchronous steps, and every write is one short transaction. */
export interface Database {
  readonly read: <A>(operation: string, step: (session: Session, now: number) => A) => Effect.Effect<A, StoreError>
  readonly write: <A>(operation: string, step: (session: Session, now: number) => A) => Effect.Effect<A, StoreError>
  /** As `write`, for what may be undone by a power cut (and by nothing else): nobody waits for the disk. */
  readonly writeLightly: <A>(
    operation: string,
    step: (session: Session, now: number) => A
  ) => Effect.Effect<A, StoreError>
}

// A daemon that is being restarted may need a moment to let go of the file.
const busyTimeout = 1000

/** Opens a database file that this process alone owns, brings its schema up to date, and closes it with the scope. */
export const openDatabase = (
  path: string,
  migrations: ReadonlyArray<string>
): Effect.Effect<Database, StoreError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.try({ try: () => open(path, migrations), catch: (cause) => storeError("open", cause) }),
      (connection) => Effect.sync(() => connection.close())
    ),
    toDatabase
  )

const open = (path: string, migrations: ReadonlyArray<string>): DatabaseSync => {
  if (path !== ":memory:") makePrivate(path)
  const connection = new DatabaseSync(path, { timeout: busyTimeout })
  try {
    // In exclusive mode the first access takes the operating system's lock on the file and keeps it until the process
    // ends, however it ends. It comes before WAL is used, so that no shared memory file is needed either.
    connection.exec("PRAGMA locking_mode = EXCLUSIVE")
    connection.exec("PRAGMA journal_mode = WAL")
    // A refresh token that the provider rotated exists nowhere else: a power cut must not undo its commit.
    connection.exec("PRAGMA synchronous = FULL")
    // What is deleted is overwritten: a data key that was destroyed is not to be found in a page that nobody uses.
    connection.exec("PRAGMA secure_delete = ON")
    migrate(connection, migrations)
    beginLogAnew(connection)
    return connection
  } catch (cause) {
    connection.close()
    throw cause
  }
}

/** A process that died may have left in the log what it had overwritten in the file. */
const beginLogAnew = (connection: DatabaseSync): void => {
  try {
    connection.exec("PRAGMA wal_checkpoint(TRUNCATE)")
  } catch {
    // A full disk, say: what there is can be read all the same, and the next opening tries again.
  }
}

const makePrivate = (path: string): void => {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  // SQLite gives its journal the mode of the database, so the file has to be private before SQLite sees it. A file that
  // is there is not opened: closing it would drop the lock that another connection of this process may hold (POSIX).
  if (!existsSync(path)) closeSync(openSync(path, "a", 0o600))
  chmodSync(path, 0o600)
}

const migrate = (connection: DatabaseSync, migrations: ReadonlyArray<string>): void => {
  // Immediate even when there is nothing to do: this is the access that takes the lock.
  connection.exec("BEGIN IMMEDIATE")
  const version = Number(connection.prepare("PRAGMA user_version").get()?.["user_version"])
  if (version > migrations.length) {
    throw new NewerSchema(version, migrations.length)
  }
  for (const statements of migrations.slice(version)) connection.exec(statements)
  if (version < migrations.length) connection.exec(`PRAGMA user_version = ${migrations.length}`)
  connection.exec("COMMIT")
}

const toDatabase = (connection: DatabaseSync): Database => {
  const named = preparedOnce((sql) => connection.prepare(sql))
  const unnamed = preparedOnce((sql) => {
    const statement = connection.prepare(sql)
    statement.setReturnArrays(true)
    return statement
  })
  const session: Session = {
    tuple: (sql, ...values) => unnamed(sql).get(...values) as ReadonlyArray<never> | undefined,
    one: <Row>(sql: string, ...values: ReadonlyArray<SQLInputValue>) => named(sql).get(...values) as Row | undefined,
    all: <Row>(sql: string, ...values: ReadonlyArray<SQLInputValue>) => named(sql).all(...values) as Array<Row>,
    run: (sql, ...values) => Number(named(sql).run(...values).changes)
  }
  const attempt = <A>(operation: string, step: (now: number) => A): Effect.Effect<A, StoreError> =>
    Effect.clockWith((clock) => {
      try {
        return Effect.succeed(step(clock.currentTimeMillisUnsafe()))
      } catch (cause) {
        return Effect.fail(storeError(operation, cause))
      }
    })

  const commit = <A>(step: () => A): A => {
    session.run("BEGIN IMMEDIATE")
    try {
      const result = step()
      session.run("COMMIT")
      return result
    } catch (cause) {
      // Some failures, such as a full disk, have rolled back by themselves.
      if (connection.isTransaction) session.run("ROLLBACK")
      throw cause
    }
  }

  return {
    read: (operation, step) => attempt(operation, (now) => step(session, now)),
    write: (operation, step) => attempt(operation, (now) => commit(() => step(session, now))),
    writeLightly: (operation, step) =>
      attempt(operation, (now) => {
        session.run("PRAGMA synchronous = NORMAL")
        try {
          return commit(() => step(session, now))
        } finally {
          session.run("PRAGMA synchronous = FULL")
        }
      })
  }
}

const preparedOnce = (prepare: (sql: string) => StatementSync) => {
  const statements = new Map<string, StatementSync>()
  return (sql: string): StatementSync => {
    const known = statements.get(sql)
    if (known !== undefined) return known
    const statement = prepare(sql)
    statements.set(sql, statement)
    return statement
  }
}

/** Reads a column that holds JSON. */
export const fromJson = <A>(text: string): A => {
  try {
    return JSON.parse(text) as A
  } catch (cause) {
    throw new CorruptRow({ cause })
  }
}
