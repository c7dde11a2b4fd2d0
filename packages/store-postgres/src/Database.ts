import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Memo from "@valetkey/domain/Memo"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Cause, Context, Deferred, Duration, Effect, Exit, Layer, type Redacted, Scope, String } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlError } from "effect/sql/SqlError"
import { makeDeadlines } from "./internal/deadlines.ts"
import { storeError, tooLate } from "./internal/failure.ts"
import * as LostSession from "./internal/lostSession.ts"
import * as RowSecurity from "./internal/rowSecurity.ts"

/** How the database is reached. */
export interface DatabaseOptions {
  /** `postgres://…`; it may lead through a connection pooler when `pooler` is true. */
  readonly url: Redacted.Redacted
  /** Where migrations and LISTEN connect, past any pooler. Default `url`. */
  readonly directUrl?: Redacted.Redacted | undefined
  /** `url` leads to a pooler in transaction mode: no startup options and no named statements are used there. Default false. */
  readonly pooler?: boolean | undefined
  /** Connections for writes and transactions. Default 10. */
  readonly maxConnections?: number | undefined
  /** Connections that many reads share at once. Default 2. */
  readonly readConnections?: number | undefined
  /** How long an operation may take before it fails with `store_unavailable`. Default 4 seconds. */
  readonly deadline?: Duration.Input | undefined
  /** How the sessions show in `pg_stat_activity`. Default `valetkey`. */
  readonly applicationName?: string | undefined
}

/** Client for SQL; statements in it are tagged templates. */
export type Sql = PgClient.PgClient

/** One piece of work on the database. */
export type Work<A, E> = (sql: Sql) => Effect.Effect<A, E>

/** The ways to run work on the database. */
export interface Operations {
  /** Runs reads, pipelined with those of others; once more when the connection was lost. */
  read<A, E>(operation: string, work: Work<A, E>): Effect.Effect<A, Exclude<E, SqlError> | StoreError>
  /** Runs one statement that commits by itself; again, at most three times, when the database asks for it. */
  write<A, E>(operation: string, work: Work<A, E>): Effect.Effect<A, Exclude<E, SqlError> | StoreError>
  /** Runs statements that commit together; again, at most three times, when the database asks for it (deadlock, serialization). */
  transaction<A, E>(operation: string, work: Work<A, E>): Effect.Effect<A, Exclude<E, SqlError> | StoreError>
}

/**
 * The pools of one database. Nothing is held across anything but SQL, and no operation outlives its deadline.
 *
 * A role that row-level security applies to sees a tenant's rows only after it has said whose: its own operations are for
 * tables without a tenant, and find and write nothing in the others. Any other role sees the same through all of them.
 */
export class Database extends Context.Service<
  Database,
  Operations & {
    /** The operations on the rows of one tenant. */
    forTenant(tenant: string): Operations
    /**
     * The operations on the rows of every tenant, for what looks across tenants by design: an id or digest that nobody
     * guesses names the row, or housekeeping that belongs to no tenant.
     */
    readonly acrossTenants: Operations
    /** Divides work on rows of several tenants into as few pieces as the policies allow: one of all, or one of each tenant. */
    readonly partition: RowSecurity.Partition
    /** How long an operation may take. */
    readonly deadline: Duration.Duration
    /** Opens a session of its own past any pooler, for LISTEN. */
    readonly session: Effect.Effect<PgConnection.PgConnection, SqlError, Scope.Scope>
    /** Whether `session` may leave through a pooler, where LISTEN hears nothing. */
    readonly deaf: boolean
  }
>()("@valetkey/store-postgres/Database") {
  /** Layer that opens connections when they are needed. It builds while the database is down. */
  static readonly layer = (options: DatabaseOptions): Layer.Layer<Database> =>
    Layer.effect(Database, make(options)).pipe(Layer.provide(Reactivity.layer))
}

/** Settings of a session past any pooler: for migrations and LISTEN. */
export const directOptions = (options: DatabaseOptions): PgClient.PgClientConfig => ({
  ...(options.directUrl === undefined ? clientOptions(options) : clientOptions({
    ...options,
    url: options.directUrl,
    pooler: false
  })),
  multiplex: false
})

const make = Effect.fnUntraced(function*(options: DatabaseOptions) {
  const scope = yield* Effect.scope
  const deadline = Duration.fromInputUnsafe(options.deadline ?? defaultDeadline)
  const begin = yield* makeDeadlines(deadline)
  const client = clientOptions(options)
  const reads = yield* makeReads({ ...client, multiplex: true, maxConnections: options.readConnections ?? 2 })
  const writes = yield* PgClient.make({ ...client, maxConnections: options.maxConnections ?? 10 }).pipe(Effect.orDie)

  /**
   * Waits no longer than the deadline, even where the caller cannot be interrupted and while the driver drains a dead
   * connection. What runs late is interrupted and owned by the layer.
   */
  const within = <A, E>(
    operation: string,
    work: Effect.Effect<A, E>,
    onLate: Effect.Effect<void>
  ): Effect.Effect<A, E | StoreError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const done = Deferred.makeUnsafe<A, E | StoreError>()
        const working = yield* Effect.forkIn(
          Effect.onExit(Effect.interruptible(work), (exit) =>
            // The driver interrupts who asks for a connection of a client that is being replaced.
            Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
              ? Deferred.fail(done, tooLate(operation))
              : Deferred.done(done, exit)),
          scope,
          { startImmediately: true }
        )
        if (Deferred.isDoneUnsafe(done)) return yield* Deferred.await(done)
        const inTime = yield* begin(
          Effect.andThen(onLate, Effect.suspend(() => Deferred.fail(done, tooLate(operation))))
        )
        return yield* Effect.ensuring(
          restore(Deferred.await(done)),
          Effect.sync(() => {
            inTime()
            working.interruptUnsafe()
          })
        )
      })
    )

  const run = <A, E>(
    operation: string,
    work: Effect.Effect<A, E>,
    onLate: Effect.Effect<void> = Effect.void
  ): Effect.Effect<A, Exclude<E, SqlError> | StoreError> =>
    Effect.mapError(
      within(operation, work, onLate),
      (error) => error instanceof SqlError ? storeError(operation, error) : error as Exclude<E, SqlError> | StoreError
    )

  const retryOnce = <A, E>(work: Effect.Effect<A, E>) =>
    Effect.catchIf(work, (error) => isReason(error, "ConnectionError"), () => work)

  // What goes well, as nearly all does, needs no schedule.
  const retryConflicts = <A, E>(work: Effect.Effect<A, E>) =>
    Effect.catchIf(work, isConflict, () => Effect.retry(work, { times: 2, while: isConflict }))

  const plain: Operations = {
    read: (operation, work) =>
      Effect.suspend(() => {
        const used = reads.current()
        return run(operation, retryOnce(Effect.suspend(() => work(used.sql))), reads.replace(used))
      }),
    write: (operation, work) => run(operation, retryConflicts(Effect.suspend(() => work(writes)))),
    transaction: (operation, work) =>
      run(operation, retryConflicts(LostSession.recover(writes.withTransaction(Effect.suspend(() => work(writes))))))
  }
  const scoped = RowSecurity.make(plain)

  return Database.of({
    ...plain,
    ...scoped,
    deadline,
    session: PgConnection.make(directOptions(options)),
    deaf: options.pooler === true && options.directUrl === undefined
  })
})

interface Reads {
  readonly sql: Sql
  readonly scope: Scope.Closeable
}

/**
 * The client for reads. A pipelined connection does not notice that its line went silent, and every later read would
 * queue behind the unanswered one; so the first read that is late has the connections replaced.
 */
const makeReads = Effect.fnUntraced(function*(options: PgClient.PgPoolConfig) {
  const owner = yield* Effect.scope
  const reactivity = yield* Reactivity.Reactivity
  const open: Effect.Effect<Reads> = Effect.gen(function*() {
    const scope = yield* Scope.fork(owner)
    const sql = yield* PgClient.make(options).pipe(
      Scope.provide(scope),
      Effect.provideService(Reactivity.Reactivity, reactivity),
      Effect.orDie
    )
    return { sql, scope }
  })
  let current = yield* open
  return {
    current: () => current,
    replace: (used: Reads): Effect.Effect<void> =>
      Effect.gen(function*() {
        if (current !== used) return
        const next = yield* open
        const [surplus] = current === used ? [current, current = next] : [next]
        yield* Effect.forkIn(Scope.close(surplus.scope, Exit.void), owner)
      })
  }
})

const defaultDeadline = Duration.seconds(4)

const isReason = (error: unknown, tag: SqlError["reason"]["_tag"]): boolean =>
  error instanceof SqlError && error.reason._tag === tag

const isConflict = (error: unknown): boolean =>
  isReason(error, "DeadlockError") || isReason(error, "SerializationError")

const clientOptions = (options: DatabaseOptions): PgClient.PgClientConfig => {
  const millis = Duration.toMillis(Duration.fromInputUnsafe(options.deadline ?? defaultDeadline))
  return {
    url: options.url,
    applicationName: options.applicationName ?? "valetkey",
    connectTimeout: Duration.millis(millis),
    keepAlive: "30 seconds",
    prepare: options.pooler !== true,
    transformResultNames: camelOf,
    transformJson: false,
    // A pooler hands a session to anybody, so what is set there must be set by the operator (ALTER ROLE).
    startupParameters: options.pooler === true ? undefined : {
      statement_timeout: `${millis}`,
      lock_timeout: `${millis}`,
      idle_in_transaction_session_timeout: `${millis * 2}`,
      TimeZone: "UTC"
    }
  }
}

// The driver asks for every column of every row, and the names of columns are few.
const camelOf = Memo.make(String.snakeToCamel)
