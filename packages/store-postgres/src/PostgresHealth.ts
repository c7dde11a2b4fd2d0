import { Context, Effect, Layer } from "effect"
import { Database } from "./Database.ts"
import { type MigrationError, verifyServing } from "./Migrations.ts"

/** Whether the database can serve, and if not, the stable code of the first reason. */
export type Health =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "NotReady"; readonly reason: NotReadyReason }

/** Why a database cannot serve: away, without what this version needs, a standby, or one that forgets commits in a crash. */
export type NotReadyReason =
  | "database_unreachable"
  | "database_read_only"
  | "commits_not_durable"
  | MigrationError["code"]

/** Service that tells whether the database and its schema are right for a replica that serves. For readiness probes. */
export class PostgresHealth extends Context.Service<PostgresHealth, {
  /**
   * One look, no longer than the operation deadline. Never fails. A schema that a newer version took over is right: it
   * keeps this version from starting, and takes nothing from a replica that serves.
   */
  readonly check: Effect.Effect<Health>
}>()("@valetkey/store-postgres/PostgresHealth") {
  /** Layer of the probe. */
  static readonly layer: Layer.Layer<PostgresHealth, never, Database> = Layer.effect(
    PostgresHealth,
    Effect.map(Database, (database) =>
      PostgresHealth.of({
        check: database.read("PostgresHealth.check", (sql) =>
          Effect.gen(function*() {
            yield* verifyServing(sql)
            const [settings] = yield* sql<{ readOnly: string; commit: string }>`
              SELECT current_setting('transaction_read_only') AS read_only, current_setting('synchronous_commit') AS commit`
            if (settings?.readOnly !== "off") return notReady("database_read_only")
            return settings.commit === "off"
              ? notReady("commits_not_durable")
              : ready
          })).pipe(
            Effect.catchTags({
              MigrationError: (error) => Effect.succeed(notReady(error.code)),
              StoreError: () => Effect.succeed(notReady("database_unreachable"))
            })
          )
      }))
  )
}

const ready: Health = { _tag: "Ready" }

const notReady = (reason: NotReadyReason): Health => ({ _tag: "NotReady", reason })
