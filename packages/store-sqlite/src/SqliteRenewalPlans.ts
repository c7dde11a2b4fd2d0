import * as Instruments from "@valetkey/domain/Instruments"
import { type DueConnection, RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { DateTime, Duration, Effect, Layer, Metric, Option } from "effect"
import { after, type KeyColumns, keyOf, millisOf } from "./internal/columns.ts"
import * as ConnectionRows from "./internal/connectionRows.ts"
import { CorruptRow } from "./internal/storeError.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `RenewalPlans` over the database. */
export const layer: Layer.Layer<RenewalPlans, never, SqliteDatabase> = Layer.effect(
  RenewalPlans,
  Effect.map(SqliteDatabase, (database) =>
    RenewalPlans.of({
      take: ({ lease, limit }) =>
        database.write("take", (session, now) => {
          const due: Array<DueConnection> = []
          const unreadable: Array<string> = []
          for (
            const row of session.all<
              ConnectionRows.ConnectionColumns & KeyColumns & { readonly ending_told: number | null }
            >(
              `SELECT tenant, subject, server, ${ConnectionRows.connectionNames}, ending_told FROM connections
               WHERE ${planned} AND renew_at <= ?
               ORDER BY row_number() OVER (PARTITION BY tenant ORDER BY renew_at), renew_at LIMIT ?`,
              now,
              limit
            )
          ) {
            const key = keyOf(row)
            session.run(
              "UPDATE connections SET renew_at = ? WHERE tenant = ? AND subject = ? AND server = ?",
              after(now, lease),
              ...ConnectionRows.valuesOf(key)
            )
            try {
              const told = row.ending_told === null ? undefined : DateTime.makeUnsafe(row.ending_told)
              due.push({ connection: ConnectionRows.connectionOf(row, key), told })
            } catch (cause) {
              if (!(cause instanceof CorruptRow)) throw cause
              unreadable.push(key.server)
            }
          }
          return { due, unreadable }
        }).pipe(
          Effect.tap(({ unreadable }) =>
            Effect.forEach(unreadable, (server) =>
              Effect.andThen(
                Metric.update(Instruments.rowPutAside("connections"), 1),
                Effect.logError("a connection cannot be read and is not renewed", { server })
              ))
          ),
          Effect.map(({ due }) => due)
        ),

      nextDue: database.read("nextDue", (session, now) => {
        const due = session.one<{ readonly due: number | null }>(
          `SELECT min(renew_at) AS due FROM connections WHERE ${planned}`
        )?.due
        return due === undefined || due === null ? Option.none() : Option.some(Duration.millis(Math.max(0, due - now)))
      }),

      plan: (plans) =>
        plans.length === 0 ?
          Effect.succeed(0) :
          database.write("plan", (session, now) =>
            plans.reduce((changed, plan) =>
              changed + session.run(
                `UPDATE connections SET renew_at = ?, ending_told = coalesce(?, ending_told)
               WHERE tenant = ? AND subject = ? AND server = ? AND epoch = ? AND generation = ?`,
                plan.after === undefined ? null : after(now, plan.after),
                millisOf(plan.told),
                ...ConnectionRows.valuesOf(plan.key),
                plan.epoch,
                plan.generation
              ), 0))
    }))
)

/** Condition of the index of what is planned. */
const planned = "status = 'active' AND renew_at IS NOT NULL"
