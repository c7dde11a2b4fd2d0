import { acceptedFence, type DevicePoll, DevicePolls } from "@valetkey/domain/DevicePolls"
import type { DeviceSnapshot, FlowId } from "@valetkey/domain/Flow"
import * as Instruments from "@valetkey/domain/Instruments"
import { Duration, Effect, Layer, Metric, Option } from "effect"
import { after, grantOf, keyOf, optionalSealedOf, sealedOf } from "./internal/columns.ts"
import * as FlowRows from "./internal/flowRows.ts"
import { fromJson, type Session } from "./internal/openDatabase.ts"
import { CorruptRow } from "./internal/storeError.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `DevicePolls` over the database. */
export const layer: Layer.Layer<DevicePolls, never, SqliteDatabase> = Layer.effect(
  DevicePolls,
  Effect.map(SqliteDatabase, (database) =>
    DevicePolls.of({
      take: ({ lease, limit }) =>
        database.write("take", (session, now) => {
          const polls: Array<DevicePoll> = []
          const unreadable: Array<FlowId> = []
          for (
            const row of session.all<FlowRows.FlowColumns>(
              `SELECT * FROM flows WHERE ${waiting} AND poll_at <= ? ORDER BY poll_at LIMIT ?`,
              now,
              now,
              limit
            )
          ) {
            const fence = row.fence + 1
            session.run(
              "UPDATE flows SET fence = ?, poll_at = ?, poll_doubtful = 1 WHERE tenant = ? AND id = ?",
              fence,
              after(now, lease),
              row.tenant,
              row.id
            )
            try {
              polls.push(pollOf(row, fence))
            } catch (cause) {
              if (!(cause instanceof CorruptRow)) throw cause
              unreadable.push(row.id)
            }
          }
          return { polls, unreadable }
        }).pipe(
          Effect.tap(({ unreadable }) =>
            Effect.forEach(unreadable, (flow) =>
              Effect.andThen(
                Metric.update(Instruments.rowPutAside("flows"), 1),
                Effect.logError("a device flow cannot be read and is not polled", { flow })
              ))
          ),
          Effect.map(({ polls }) => polls)
        ),

      nextDue: database.read("nextDue", (session, now) => {
        const due = session.one<{ readonly due: number | null }>(
          `SELECT min(poll_at) AS due FROM flows WHERE ${waiting}`,
          now
        )?.due
        return due === undefined || due === null ? Option.none() : Option.some(Duration.millis(Math.max(0, due - now)))
      }),

      again: (id, fence, next) =>
        database.write("again", (session, now) =>
          session.run(
            `UPDATE flows SET poll_at = ?, poll_interval = ?, poll_failures = ?, poll_doubtful = ?
             WHERE id = ? AND fence = ? AND ${waiting}`,
            after(now, next.after),
            Duration.toMillis(next.interval),
            next.failures,
            next.doubtful ? 1 : 0,
            id,
            fence,
            now
          ) === 1),

      accept: ({ fence, handOffs, id }, lease) =>
        database.write("accept", (session, now) =>
          Option.map(
            Option.fromUndefinedOr(session.one<{ readonly fence: number }>(
              `UPDATE flows SET state = 'exchanging', fence = ?, lease_until = ?, poll_at = NULL, device_code = NULL
               WHERE id = ? AND hand_offs = ? AND (${waiting} OR state = 'exchanging' AND fence = ?) RETURNING fence`,
              acceptedFence(fence),
              after(now, lease),
              id,
              handOffs,
              now,
              acceptedFence(fence)
            )),
            ({ fence }) => fence
          )),

      end: (id, fence, outcome) =>
        database.write("end", (session, now) => {
          // What the deadline ended is not this poll's doing, although it may be called the same.
          if (!isHeld(session, id, fence, now)) {
            return FlowRows.settledSo(session, id, fence, outcome, "settled_at < expires_at")
          }
          if (outcome === "expired" || outcome === "outcome_unknown") FlowRows.settle(session, id, outcome, now)
          else FlowRows.settle(session, id, "failed", now, outcome)
          return true
        })
    }))
)

/** Condition of a flow that waits for a device; binds the time. */
const waiting = "state = 'pending' AND poll_at IS NOT NULL AND expires_at > ?"

const isHeld = (session: Session, id: FlowId, fence: number, now: number): boolean =>
  session.one(`SELECT id FROM flows WHERE id = ? AND fence = ? AND ${waiting}`, id, fence, now) !== undefined

const pollOf = (row: FlowRows.FlowColumns, fence: number): DevicePoll => {
  const { device_code, grant_json, poll_interval, snapshot } = row
  if (device_code === null || grant_json === null || poll_interval === null || snapshot === null) {
    throw new CorruptRow({ cause: "a flow is polled that has no device code" })
  }
  return {
    id: row.id,
    key: keyOf(row),
    fence,
    handOffs: row.hand_offs,
    grant: grantOf(grant_json),
    snapshot: fromJson<DeviceSnapshot>(snapshot),
    deviceCode: sealedOf(device_code),
    clientSecret: optionalSealedOf(row.client_secret),
    interval: Duration.millis(poll_interval),
    failures: row.poll_failures,
    doubtful: row.poll_doubtful === 1
  }
}
