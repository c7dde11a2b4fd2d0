import { Grant } from "@valetkey/domain/Connection"
import { acceptedFence, type DevicePoll, DevicePolls } from "@valetkey/domain/DevicePolls"
import { DeviceSnapshot, FlowId } from "@valetkey/domain/Flow"
import * as Instruments from "@valetkey/domain/Instruments"
import { Sealed } from "@valetkey/domain/Sealed"
import { Duration, Effect, Layer, Metric, Option, Schema } from "effect"
import { Database } from "./Database.ts"
import { announcement } from "./internal/announcement.ts"
import { keyColumns, keyOf, orNull } from "./internal/columns.ts"
import { after } from "./internal/databaseTime.ts"
import { settledColumns } from "./internal/flowRows.ts"

/** Layer of `DevicePolls` on the table `flows`. */
export const layer: Layer.Layer<DevicePolls, never, Database> = Layer.effect(
  DevicePolls,
  Effect.map(Database, (database) =>
    DevicePolls.of({
      take: ({ lease, limit }) =>
        database.acrossTenants.write("DevicePolls.take", (sql) =>
          Effect.flatMap(
            sql`WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now), due AS MATERIALIZED (
                SELECT tenant, id, poll_doubtful FROM flows
                WHERE ${sql.literal(waiting)} AND poll_at <= (SELECT now FROM moment)
                ORDER BY poll_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
              )
              UPDATE flows SET fence = fence + 1, poll_at = ${after(sql, lease)}, poll_doubtful = true
              FROM due WHERE flows.tenant = due.tenant AND flows.id = due.id
              RETURNING flows.tenant, flows.subject, flows.server, flows.id, flows.fence, flows.hand_offs, flows."grant",
                flows.snapshot, flows.device_code, flows.client_secret, flows.poll_interval AS interval,
                flows.poll_failures AS failures, due.poll_doubtful AS doubtful`,
            Effect.succeed
          )).pipe(Effect.flatMap(readable)),

      nextDue: database.acrossTenants.read("DevicePolls.nextDue", (sql) =>
        Effect.map(
          sql<{ due: number | null }>`SELECT
            extract(epoch FROM min(poll_at) - clock_timestamp())::float8 * 1000 AS due
            FROM flows WHERE ${sql.literal(waiting)}`,
          ([row]) => Option.map(Option.fromNullishOr(row?.due), (due) => Duration.millis(Math.max(0, Math.ceil(due))))
        )),

      again: (id, fence, next) =>
        database.acrossTenants.write("DevicePolls.again", (sql) =>
          Effect.map(
            sql`UPDATE flows SET poll_at = ${after(sql, next.after)}, poll_interval = ${
              Duration.toMillis(next.interval)
            },
                poll_failures = ${next.failures}, poll_doubtful = ${next.doubtful}
              WHERE id = ${id} AND fence = ${fence} AND ${sql.literal(waiting)} RETURNING id`,
            (rows) => rows.length > 0
          )),

      accept: ({ fence, handOffs, id }, lease) =>
        database.acrossTenants.write("DevicePolls.accept", (sql) =>
          Effect.map(
            sql<{ fence: number }>`UPDATE flows SET state = 'exchanging', fence = ${acceptedFence(fence)},
                lease_until = ${after(sql, lease)}, poll_at = NULL, device_code = NULL
              WHERE id = ${id} AND hand_offs = ${handOffs}
                AND (${sql.literal(waiting)} OR state = 'exchanging' AND fence = ${acceptedFence(fence)})
              RETURNING fence`,
            ([row]) => Option.map(Option.fromUndefinedOr(row), ({ fence }) => fence)
          )),

      end: (id, fence, outcome) =>
        database.acrossTenants.write("DevicePolls.end", (sql) => {
          const [state, failure] = outcome === "expired" || outcome === "outcome_unknown"
            ? [outcome, null]
            : ["failed", outcome]
          return Effect.map(
            // The second half is for who was not told of its commit. What the deadline ended is not this poll's doing.
            sql`WITH ended AS (
                UPDATE flows SET state = ${state}, failure = ${failure}, ${sql.literal(settledColumns)}
                WHERE id = ${id} AND fence = ${fence} AND ${sql.literal(waiting)}
                RETURNING id, ${announcement(sql, "id")}
              )
              SELECT id FROM ended UNION ALL SELECT id FROM flows WHERE id = ${id} AND fence = ${fence}
                AND state = ${state} AND failure IS NOT DISTINCT FROM ${failure}::text AND settled_at < expires_at`,
            (rows) => rows.length > 0
          )
        })
    }))
)

/** The polls of rows. What cannot be read is not sent; its lease is written, and its flow ends at its deadline. */
const readable = Effect.fnUntraced(function*(rows: ReadonlyArray<object>) {
  const polls: Array<DevicePoll> = []
  for (const row of rows) {
    const read = yield* Effect.option(decodePoll(row))
    if (Option.isSome(read)) {
      polls.push(read.value)
      continue
    }
    yield* Metric.update(Instruments.rowPutAside("flows"), 1)
    yield* Effect.logError("a device flow cannot be read and is not polled", {
      flow: "id" in row ? String(row.id) : ""
    })
  }
  return polls
})

/** Condition of a flow that waits for a device. */
const waiting = "state = 'pending' AND poll_at IS NOT NULL AND expires_at > clock_timestamp()"

const PollRow = Schema.Struct({
  ...keyColumns,
  id: FlowId,
  fence: Schema.Natural,
  handOffs: Schema.Natural,
  grant: Grant,
  snapshot: DeviceSnapshot,
  deviceCode: Sealed,
  clientSecret: orNull(Sealed),
  interval: Schema.Finite,
  failures: Schema.Natural,
  doubtful: Schema.Boolean
})

const decodeRow = Schema.decodeUnknownEffect(PollRow)

const decodePoll = (row: unknown): Effect.Effect<DevicePoll, Schema.SchemaError> =>
  Effect.map(decodeRow(row), ({ clientSecret, interval, server, subject, tenant, ...poll }) => ({
    ...poll,
    key: keyOf({ tenant, subject, server }),
    clientSecret: clientSecret ?? undefined,
    interval: Duration.millis(interval)
  }))
