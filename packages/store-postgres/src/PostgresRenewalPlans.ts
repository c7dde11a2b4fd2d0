import * as Instruments from "@valetkey/domain/Instruments"
import { type DueConnection, RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { DateTime, Duration, Effect, Layer, Metric, Option, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { connectionColumns, decodeConnection } from "./internal/connectionRows.ts"
import { after } from "./internal/databaseTime.ts"

/** Layer of `RenewalPlans` on the table `connections`. */
export const layer: Layer.Layer<RenewalPlans, never, Database> = Layer.effect(
  RenewalPlans,
  Effect.map(Database, (database) =>
    RenewalPlans.of({
      take: ({ lease, limit }) =>
        database.acrossTenants.write("RenewalPlans.take", (sql) =>
          Effect.flatMap(
            // The turns are counted without a lock; of what somebody took since, none is locked here: it is skipped, or due later.
            sql`WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now), turns AS MATERIALIZED (
                SELECT tenant AS t, subject AS u, server AS s,
                  row_number() OVER (PARTITION BY tenant ORDER BY renew_at) AS turn
                FROM (${dueFrom(sql, "ASC")} UNION ${dueFrom(sql, "DESC")}) AS candidates
              ), due AS MATERIALIZED (
                SELECT t, u, s FROM turns JOIN connections ON tenant = t AND subject = u AND server = s
                WHERE ${sql.literal(planned)} AND renew_at <= (SELECT now FROM moment)
                ORDER BY turn, renew_at LIMIT ${limit} FOR UPDATE OF connections SKIP LOCKED
              )
              UPDATE connections
              SET renew_at = ${after(sql, lease)}
              FROM due WHERE tenant = t AND subject = u AND server = s
              RETURNING ${connectionColumns(sql)}, ending_told`,
            Effect.succeed
          )).pipe(Effect.flatMap(readable)),

      nextDue: database.acrossTenants.read("RenewalPlans.nextDue", (sql) =>
        Effect.map(
          sql<{ due: number | null }>`SELECT
            extract(epoch FROM min(renew_at) - clock_timestamp())::float8 * 1000 AS due
            FROM connections WHERE ${sql.literal(planned)}`,
          ([row]) => Option.map(Option.fromNullishOr(row?.due), (due) => Duration.millis(Math.max(0, Math.ceil(due))))
        )),

      plan: (plans) =>
        plans.length === 0 ? Effect.succeed(0) : database.acrossTenants.write("RenewalPlans.plan", (sql) =>
          Effect.map(
            // Locked in the order of the keys, as whoever waits for several rows does.
            sql`WITH plan AS MATERIALIZED (
                SELECT plan.* FROM jsonb_to_recordset(${
              sql.json(plans.map(({ after, epoch, generation, key, told }) => ({
                t: key.tenant,
                u: key.subject,
                s: key.server,
                e: epoch,
                g: generation,
                after: after === undefined ? null : Duration.toMillis(after),
                told: told === undefined ? null : DateTime.formatIso(told)
              })))
            }::jsonb) AS plan (t text, u text, s text, e text, g integer, after float8, told timestamptz)
                JOIN connections ON tenant = t AND subject = u AND server = s AND epoch = e AND generation = g
                ORDER BY tenant, subject, server FOR UPDATE OF connections
              )
              UPDATE connections SET renew_at = clock_timestamp() + plan.after * interval '1 millisecond',
                ending_told = coalesce(plan.told, ending_told)
              FROM plan WHERE tenant = t AND subject = u AND server = s
              RETURNING generation`,
            (rows) => rows.length
          ))
    }))
)

/**
 * One end of what is due, the longest or the latest due. Counting the turns of everything would take as long as everything
 * is much; the latest are among the candidates so that a tenant with thousands keeps nobody waiting who is due now.
 */
const dueFrom = (sql: Sql, order: "ASC" | "DESC") =>
  sql`(SELECT tenant, subject, server, renew_at FROM connections
    WHERE ${sql.literal(planned)} AND renew_at <= (SELECT now FROM moment)
    ORDER BY renew_at ${sql.literal(order)} LIMIT ${candidates})`

const candidates = 512

/** Condition of the index of what is planned. */
const planned = "status = 'active' AND renew_at IS NOT NULL"

const Told = Schema.Struct({ endingTold: Schema.NullOr(Schema.DateTimeUtcFromDate) })
const decodeTold = Schema.decodeUnknownEffect(Told)

/** What was taken and can be read. The lease of the others is written: they come back after it, and are told of again. */
const readable = Effect.fnUntraced(function*(rows: ReadonlyArray<object>) {
  const due: Array<DueConnection> = []
  for (const row of rows) {
    const read = yield* Effect.option(Effect.all([decodeConnection(row), decodeTold(row)]))
    if (Option.isSome(read)) {
      const [connection, { endingTold }] = read.value
      due.push({ connection, told: endingTold ?? undefined })
      continue
    }
    yield* Metric.update(Instruments.rowPutAside("connections"), 1)
    yield* Effect.logError("a connection cannot be read and is not renewed", {
      server: "server" in row ? String(row.server) : ""
    })
  }
  return due
})
