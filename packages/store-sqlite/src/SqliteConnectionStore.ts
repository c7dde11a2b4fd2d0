import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { decideClaim, decideFailure, decideSent, type RefreshPhase, type RefreshState } from "@valetkey/domain/Refresh"
import { firstEndOf, planOf, soon } from "@valetkey/domain/RenewalPlans"
import { endingRevocation } from "@valetkey/domain/RevocationOutbox"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { credentialNames, credentialValues, type KeyColumns, keyOf } from "./internal/columns.ts"
import * as ConnectionRows from "./internal/connectionRows.ts"
import * as FlowRows from "./internal/flowRows.ts"
import type { Session } from "./internal/openDatabase.ts"
import { addRevocation, markForgotten } from "./internal/revocationRows.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `ConnectionStore` over the database. */
export const layer: Layer.Layer<ConnectionStore, never, SqliteDatabase> = Layer.effect(
  ConnectionStore,
  Effect.map(SqliteDatabase, (database) =>
    ConnectionStore.of({
      get: (key) =>
        database.read("get", (session) => {
          const row = session.tuple(selectOne, key.tenant, key.subject, key.server)
          return row === undefined
            ? Option.none()
            : Option.some(ConnectionRows.connectionOf(ConnectionRows.columnsOf(row), key))
        }),

      list: ({ after, limit, subject, tenant }) =>
        database.read("list", (session) =>
          session.all<ConnectionRows.ConnectionColumns & KeyColumns>(
            `SELECT tenant, subject, server, ${ConnectionRows.connectionNames} FROM connections
             WHERE tenant = ? AND subject = ? AND server > ? ORDER BY server LIMIT ?`,
            tenant,
            subject,
            after ?? "",
            limit
          ).map((row) => ConnectionRows.connectionOf(row, keyOf(row)))),

      claim: (key, input) =>
        database.write("claim", (session, now) => {
          const state = refreshStateOf(session, key)
          if (state === undefined) return { _tag: "Moved" as const }
          const { next, outcome } = decideClaim(state, { ...input, now })
          if (next !== undefined) setRefreshState(session, key, next, now)
          return outcome
        }),

      markSent: (key, input) =>
        database.write("markSent", (session, now) => {
          const state = refreshStateOf(session, key)
          const next = state && decideSent(state, { ...input, now })
          return next !== undefined && setRefreshState(session, key, next, now)
        }),

      commit: (key, input) =>
        database.write("commit", (session, now) =>
          session.run(
            `UPDATE connections SET generation = generation + 1, status = 'active', reason = NULL,
               (${credentialNames}) = (?, ?, ?, ?, ?, ?, ?),
               renew_at = CASE WHEN renew_at <= ? THEN renew_at ELSE ? END, result_id = ?, forced = rejected, rejected = 0,
               phase = 'idle', attempts = 0, lease_until = 0, not_before = 0, updated_at = ?
             WHERE tenant = ? AND subject = ? AND server = ? AND generation = ? AND epoch = ?
               AND status IN ('active', 'needs_reauth')`,
            ...credentialValues(input.credentials),
            firstEndOf(input.credentials),
            planOf(undefined, input.credentials, now),
            input.resultId,
            now,
            ...ConnectionRows.valuesOf(key),
            input.generation,
            input.epoch
          ) === 1),

      isCommitted: (key, resultId) =>
        database.read("isCommitted", (session) =>
          session.one(
            "SELECT 1 FROM connections WHERE tenant = ? AND subject = ? AND server = ? AND result_id = ?",
            ...ConnectionRows.valuesOf(key),
            resultId
          ) !== undefined),

      fail: (key, input) =>
        database.write("fail", (session, now) => {
          const state = refreshStateOf(session, key)
          const next = state && decideFailure(state, { ...input, now })
          return next !== undefined && setRefreshState(session, key, next, now)
        }),

      reject: (key, { epoch, generation }) =>
        database.write("reject", (session, now) => {
          session.run(
            `UPDATE connections SET rejected = 1, updated_at = ?
             WHERE tenant = ? AND subject = ? AND server = ? AND generation = ? AND epoch = ? AND rejected = 0`,
            now,
            ...ConnectionRows.valuesOf(key),
            generation,
            epoch
          )
        }),

      setExpiry: (key, { epoch, expiresAt, generation }) =>
        database.write("setExpiry", (session, now) => {
          const end = DateTime.toEpochMillis(expiresAt)
          return session.run(
            `UPDATE connections SET expires_at = ?, updated_at = ?,
               renew_at = CASE WHEN renew_at <= min(?, coalesce(refresh_expires_at, ?)) THEN renew_at ELSE ? END
             WHERE tenant = ? AND subject = ? AND server = ? AND generation = ? AND epoch = ?`,
            end,
            now,
            end,
            end,
            now + Duration.toMillis(soon),
            ...ConnectionRows.valuesOf(key),
            generation,
            epoch
          ) === 1
        }),

      deposit: (key, input) =>
        database.write("deposit", (session, now) => {
          if (ConnectionRows.currentGeneration(session, key) !== input.previous) return false
          if (input.owesFormer === true) oweRevocation(session, key, now)
          ConnectionRows.write(session, key, input, now)
          return true
        }),

      disconnect: (key, epoch) =>
        database.write("disconnect", (session, now) => {
          const open = FlowRows.openFlow(session, key, now)
          if (open !== undefined) FlowRows.settle(session, open.id, "cancelled", now)
          if (!oweRevocation(session, key, now)) return open !== undefined
          session.run(
            `UPDATE connections SET epoch = ?, status = 'revoking', reason = NULL, client_secret = NULL,
               access_token = NULL, refresh_token = NULL, account = NULL, granted_at = NULL, refresh_expires_at = NULL,
               renew_at = NULL, ending_told = NULL, result_id = NULL, phase = 'idle', attempts = 0,
               lease_until = 0, not_before = 0, updated_at = ?
             WHERE tenant = ? AND subject = ? AND server = ?`,
            epoch,
            now,
            ...ConnectionRows.valuesOf(key)
          )
          return true
        }),

      forget: (key, { epoch, generation }) =>
        database.write("forget", (session, now) => {
          const deleted = session.run(
            `DELETE FROM connections
             WHERE tenant = ? AND subject = ? AND server = ? AND generation = ? AND epoch = ?
               AND status <> 'revoking' AND phase = 'idle' AND (status <> 'active' OR attempts = 0)`,
            ...ConnectionRows.valuesOf(key),
            generation,
            epoch
          ) === 1
          if (deleted) markForgotten(session, key, epoch, now)
          return deleted
        })
    }))
)

const selectOne =
  `SELECT ${ConnectionRows.connectionNames} FROM connections WHERE tenant = ? AND subject = ? AND server = ?`

interface RefreshColumns extends Pick<ConnectionRows.ConnectionColumns, "status" | "reason" | "generation" | "epoch"> {
  readonly phase: RefreshPhase
  readonly fence: number
  readonly attempts: number
  readonly lease_until: number
  readonly not_before: number
}

const refreshStateOf = (session: Session, key: ConnectionKey): RefreshState | undefined => {
  const row = session.one<RefreshColumns>(
    `SELECT status, reason, generation, epoch, phase, fence, attempts, lease_until, not_before
     FROM connections WHERE tenant = ? AND subject = ? AND server = ?`,
    ...ConnectionRows.valuesOf(key)
  )
  return row && {
    status: ConnectionRows.statusOf(row),
    generation: row.generation,
    epoch: row.epoch,
    phase: row.phase,
    fence: row.fence,
    attempts: row.attempts,
    leaseUntil: row.lease_until,
    notBefore: row.not_before
  }
}

const setRefreshState = (session: Session, key: ConnectionKey, next: RefreshState, now: number): boolean =>
  session.run(
    `UPDATE connections SET status = ?, reason = ?, phase = ?, fence = ?, attempts = ?, lease_until = ?, not_before = ?,
       updated_at = ?
     WHERE tenant = ? AND subject = ? AND server = ?`,
    next.status._tag,
    next.status._tag === "needs_reauth" ? next.status.reason : null,
    next.phase,
    next.fence,
    next.attempts,
    Math.ceil(next.leaseUntil),
    Math.ceil(next.notBefore),
    now,
    ...ConnectionRows.valuesOf(key)
  ) === 1

/** Owes what the connection holds. False when there is nothing to end. */
const oweRevocation = (session: Session, key: ConnectionKey, now: number): boolean => {
  const row = session.one<ConnectionRows.ConnectionColumns>(selectOne, ...ConnectionRows.valuesOf(key))
  if (row === undefined || row.status === "revoking") return false
  addRevocation(session, endingRevocation(ConnectionRows.connectionOf(row, key)), "disconnect", now)
  return true
}
