import * as PgClient from "@effect/sql-pg/PgClient"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Effect, Layer, Schema } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlError } from "effect/sql/SqlError"
import { createHash } from "node:crypto"
import { type DatabaseOptions, directOptions } from "./Database.ts"
import { databaseFailure, storeError } from "./internal/failure.ts"
import * as LostSession from "./internal/lostSession.ts"
import { migrations } from "./internal/migrations.ts"

/** One step of the schema. */
export interface Migration {
  readonly id: number
  readonly name: string
  readonly statements: ReadonlyArray<string>
}

/** Error of a schema that this version cannot work with. Nothing was changed. */
export class MigrationError extends Schema.TaggedError<MigrationError>("valetkey/MigrationError")("MigrationError", {
  code: Schema.Literals(["schema_missing", "schema_outdated", "schema_newer", "schema_changed", "migration_failed"]),
  migration: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    const of = this.migration === undefined ? "" : ` (migration ${this.migration})`
    switch (this.code) {
      case "schema_missing":
        return "The database has no tables of Valetkey; start the server once with the URL of the role that is to own them"
      case "schema_outdated":
        return `The database is older than this version${of}; start this version once with the URL of the owner of the tables`
      case "schema_newer":
        return `The database was migrated by a newer version${of}; upgrade this one`
      case "schema_changed":
        return `The database was migrated by other statements than this version has${of}; use a released version`
      case "migration_failed":
        return `A migration failed and was rolled back${of}; see the cause, mend the database, then start again`
    }
  }
}

/** The migration as the database records it. */
export const label = (migration: Migration): string => `${String(migration.id).padStart(4, "0")}_${migration.name}`

/** SHA-256 of a migration's statements in hex. Recorded when it is applied. */
export const checksum = (migration: Migration): string =>
  createHash("sha256").update(migration.statements.join(";\n")).digest("hex")

/** Every migration of this version. */
export const all: ReadonlyArray<Migration> = migrations

/**
 * Brings the database to this version in one transaction, under an advisory lock that other starting replicas wait for.
 * A database that is up to date is only read.
 */
export const apply = (
  options: DatabaseOptions,
  steps: ReadonlyArray<Migration> = all
): Effect.Effect<void, MigrationError | StoreError> =>
  withClient(options, (sql) =>
    Effect.gen(function*() {
      const [first] = yield* pending(sql, steps)
      if (first === undefined) return
      yield* LostSession.recover(sql.withTransaction(Effect.gen(function*() {
        // Settings end with the transaction: nothing is left behind in a session that a pooler lends on.
        yield* sql`SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true),
          set_config('idle_in_transaction_session_timeout', '60s', true)`
        yield* sql`SELECT pg_advisory_xact_lock(${lockKey}::bigint)`
        yield* sql`CREATE TABLE IF NOT EXISTS valetkey_migrations (
          id integer PRIMARY KEY,
          name text NOT NULL,
          checksum text NOT NULL,
          applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )`.pipe(Effect.mapError((error) => isForbidden(error) ? behind(first, steps) : error))
        for (const migration of yield* pending(sql, steps)) {
          for (const statement of migration.statements) {
            yield* sql.unsafe(statement).pipe(
              Effect.mapError((error) =>
                new MigrationError({
                  code: "migration_failed",
                  migration: label(migration),
                  cause: databaseFailure(error)
                })
              )
            )
          }
          yield* sql`INSERT INTO valetkey_migrations (id, name, checksum)
            VALUES (${migration.id}, ${migration.name}, ${checksum(migration)})`
          yield* Effect.logInfo("migration applied", { migration: label(migration) })
        }
      })))
    })).pipe(Effect.tapError((error) => Effect.logError("migrations not applied", error)))

/** Fails unless the database is exactly at this version. Changes nothing. */
export const verify = (
  sql: PgClient.PgClient,
  steps: ReadonlyArray<Migration> = all
): Effect.Effect<void, MigrationError | SqlError> =>
  Effect.gen(function*() {
    const [first] = yield* pending(sql, steps)
    if (first === undefined) return
    return yield* behind(first, steps)
  })

/**
 * Fails unless the database has every migration of this version. Those of newer versions may be there too: a migration
 * adds to what replicas of the version before it need, which go on serving until they are replaced. Changes nothing.
 */
export const verifyServing = (
  sql: PgClient.PgClient,
  steps: ReadonlyArray<Migration> = all
): Effect.Effect<void, MigrationError | SqlError> =>
  Effect.gen(function*() {
    const [first] = yield* pending(sql, steps, "accepted")
    if (first === undefined) return
    return yield* behind(first, steps)
  })

/** Layer that migrates before anything that is provided by it starts. */
export const layer = (options: DatabaseOptions): Layer.Layer<never, MigrationError | StoreError> =>
  Layer.effectDiscard(apply(options))

/** Layer that refuses a database which is not at this version, for roles that may not change the schema. */
export const layerVerify = (options: DatabaseOptions): Layer.Layer<never, MigrationError | StoreError> =>
  Layer.effectDiscard(withClient(options, (sql) => verify(sql)))

// "valetkey" as eight bytes: everybody who migrates this product's tables queues here.
const lockKey = "8530218352217122169"

/** What is wrong with a database that lacks this migration, when it may not or cannot be applied. */
const behind = (first: Migration, steps: ReadonlyArray<Migration>): MigrationError =>
  first.id === steps[0]?.id
    ? new MigrationError({ code: "schema_missing" })
    : new MigrationError({ code: "schema_outdated", migration: label(first) })

const isForbidden = ({ reason }: SqlError): boolean => reason._tag === "AuthorizationError"

const withClient = <A, E>(
  options: DatabaseOptions,
  use: (sql: PgClient.PgClient) => Effect.Effect<A, E>
): Effect.Effect<A, Exclude<E, SqlError> | StoreError> =>
  Effect.scoped(Effect.flatMap(PgClient.makeClient(directOptions(options)), use)).pipe(
    Effect.provide(Reactivity.layer),
    Effect.mapError((error) => error instanceof SqlError ? storeError("migrate", error) : error as Exclude<E, SqlError>)
  )

/** The migrations that are not applied yet; fails when those that are do not match. */
const pending = (
  sql: PgClient.PgClient,
  steps: ReadonlyArray<Migration>,
  newer: "refused" | "accepted" = "refused"
): Effect.Effect<ReadonlyArray<Migration>, MigrationError | SqlError> =>
  Effect.gen(function*() {
    const [table] = yield* sql<{ exists: boolean }>`SELECT to_regclass('valetkey_migrations') IS NOT NULL AS exists`
    if (table?.exists !== true) return steps
    const applied = yield* sql<{ id: number; name: string; checksum: string }>`
      SELECT id, name, checksum FROM valetkey_migrations ORDER BY id`
    const known = new Map(steps.map((migration) => [migration.id, migration]))
    for (const row of applied) {
      const migration = known.get(row.id)
      if (migration === undefined) {
        if (newer === "accepted") continue
        return yield* new MigrationError({
          code: "schema_newer",
          migration: `${String(row.id).padStart(4, "0")}_${row.name}`
        })
      }
      if (checksum(migration) !== row.checksum) {
        return yield* new MigrationError({ code: "schema_changed", migration: label(migration) })
      }
    }
    return steps.filter(({ id }) => !applied.some((row) => row.id === id))
  })
