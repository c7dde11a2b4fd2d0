import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Layer } from "effect"
import { Database } from "./Database.ts"
import { storeError } from "./internal/failure.ts"
import { decodeRevocation, insertRevocation, revocationColumns } from "./internal/revocationRows.ts"

/** Layer of `RevocationOutbox` on the table `revocations`. */
export const layer: Layer.Layer<RevocationOutbox, never, Database> = Layer.effect(
  RevocationOutbox,
  Effect.map(Database, (database) =>
    RevocationOutbox.of({
      enqueue: (revocation) =>
        database.forTenant(revocation.key.tenant).write("RevocationOutbox.enqueue", (sql) =>
          insertRevocation(sql, revocation)),

      depth: database.acrossTenants.read(
        "RevocationOutbox.depth",
        (sql) =>
          Effect.map(
            sql<{ depth: number }>`SELECT count(*)::float8 AS depth FROM revocations`,
            ([row]) =>
              row?.depth ?? 0
          )
      ),

      take: (input) =>
        database.acrossTenants.write("RevocationOutbox.take", (sql) =>
          Effect.flatMap(
            sql`WITH due AS MATERIALIZED (
                SELECT tenant, id FROM revocations WHERE due_at <= (SELECT clock_timestamp())
                ORDER BY due_at LIMIT ${input.limit} FOR UPDATE SKIP LOCKED
              )
              UPDATE revocations SET attempts = attempts + 1,
                due_at = clock_timestamp() + ${Duration.toMillis(input.lease)}::float8 * interval '1 millisecond'
              FROM due WHERE revocations.tenant = due.tenant AND revocations.id = due.id
              RETURNING ${revocationColumns(sql)}`,
            Effect.forEach((row) =>
              Effect.mapError(decodeRevocation(row), (error) => storeError("RevocationOutbox.take", error))
            )
          )),

      settle: (id) =>
        database.acrossTenants.write("RevocationOutbox.settle", (sql) =>
          Effect.asVoid(sql`WITH done AS (DELETE FROM revocations WHERE id = ${id} RETURNING tenant, subject, server)
            DELETE FROM connections USING done
            WHERE connections.tenant = done.tenant AND connections.subject = done.subject
              AND connections.server = done.server AND connections.status = 'revoking'`)),

      retry: (id, delay) =>
        database.acrossTenants.write("RevocationOutbox.retry", (sql) =>
          Effect.asVoid(sql`UPDATE revocations
            SET due_at = clock_timestamp() + ${Duration.toMillis(delay)}::float8 * interval '1 millisecond'
            WHERE id = ${id}`))
    }))
)
