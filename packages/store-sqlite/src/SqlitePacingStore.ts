import {
  decideAdmission,
  decideAnswer,
  type EndpointState,
  healthy,
  isExpected,
  isHealthy,
  longestSlot,
  retention
} from "@valetkey/domain/Pacing"
import { type PacedEndpoint, PacingStore } from "@valetkey/domain/PacingStore"
import { Duration, Effect, Layer } from "effect"
import type { Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `PacingStore` over the database. */
export const layer: Layer.Layer<PacingStore, never, SqliteDatabase> = Layer.effect(
  PacingStore,
  Effect.map(SqliteDatabase, (database) =>
    PacingStore.of({
      admit: (endpoint, { lease }) =>
        // Nothing is stored of most endpoints, and a reader needs no lock.
        Effect.flatMap(database.read("admit", (session) => stateOf(session, endpoint)), (found) =>
          found === undefined
            ? Effect.succeed({ admission: { _tag: "Go" as const }, healthy: true })
            : database.write("admit", (session, now) => {
              const state = stateOf(session, endpoint)
              const { admission, next } = decideAdmission(state ?? healthy, { lease, now })
              if (next !== undefined) setState(session, endpoint, next)
              return { admission, healthy: state === undefined }
            })),

      report: (endpoint, answer) =>
        database.write("report", (session, now) => {
          const before = stateOf(session, endpoint)
          if (before === undefined && isExpected(answer)) return { healthy: true, changed: false }
          if (!isExpected(answer)) {
            session.run(
              "DELETE FROM token_endpoints WHERE tenant = ? AND max(open_until, probe_until, not_before) < ?",
              endpoint.tenant,
              now - Duration.toMillis(retention)
            )
          }
          const next = decideAnswer(before ?? healthy, { answer, now })
          if (!isHealthy(next, now)) setState(session, endpoint, next)
          else {
            session.run(
              "DELETE FROM token_endpoints WHERE tenant = ? AND token_endpoint = ?",
              endpoint.tenant,
              endpoint.tokenEndpoint
            )
          }
          return { healthy: isHealthy(next, now), changed: true }
        }),

      acquire: ({ cap, count, holder, lease, provider }) =>
        database.write("acquire", (session, now) => {
          const held = new Set(
            session.all<{ readonly slot: number }>(
              "SELECT slot FROM redemption_slots WHERE provider = ? AND lease_until > ? AND lease_until <= ?",
              provider,
              now,
              now + Duration.toMillis(longestSlot)
            ).map(({ slot }) => slot)
          )
          const free = Array.from({ length: cap }, (_, index) => index + 1).filter((slot) => !held.has(slot))
          const taken = free.slice(0, count)
          for (const slot of taken) {
            session.run(
              "INSERT OR REPLACE INTO redemption_slots (provider, slot, holder, lease_until) VALUES (?, ?, ?, ?)",
              provider,
              slot,
              holder,
              Math.ceil(now + Duration.toMillis(lease))
            )
          }
          return taken
        }),

      release: ({ holder, provider, slot }) =>
        database.write("release", (session) => {
          session.run(
            "DELETE FROM redemption_slots WHERE provider = ? AND slot = ? AND holder = ?",
            provider,
            slot,
            holder
          )
        })
    }))
)

interface EndpointColumns {
  readonly failures: number
  readonly trips: number
  readonly open_until: number
  readonly probe_until: number
  readonly not_before: number
}

const stateOf = (session: Session, { tenant, tokenEndpoint }: PacedEndpoint): EndpointState | undefined => {
  const row = session.one<EndpointColumns>(
    `SELECT failures, trips, open_until, probe_until, not_before FROM token_endpoints
     WHERE tenant = ? AND token_endpoint = ?`,
    tenant,
    tokenEndpoint
  )
  return row && {
    failures: row.failures,
    trips: row.trips,
    openUntil: row.open_until,
    probeUntil: row.probe_until,
    notBefore: row.not_before
  }
}

const setState = (session: Session, { tenant, tokenEndpoint }: PacedEndpoint, state: EndpointState): void => {
  session.run(
    `INSERT OR REPLACE INTO token_endpoints (tenant, token_endpoint, failures, trips, open_until, probe_until, not_before)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
    tenant,
    tokenEndpoint,
    state.failures,
    state.trips,
    Math.ceil(state.openUntil),
    Math.ceil(state.probeUntil),
    Math.ceil(state.notBefore)
  )
}
