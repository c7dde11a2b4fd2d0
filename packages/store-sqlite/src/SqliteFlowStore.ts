import type { FlowId, FrozenTicket, FrozenWay } from "@valetkey/domain/Flow"
import { FlowConflict, FlowStore, type Reservation } from "@valetkey/domain/FlowStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { after, sealedOf } from "./internal/columns.ts"
import * as ConnectionRows from "./internal/connectionRows.ts"
import * as FlowRows from "./internal/flowRows.ts"
import type { Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `FlowStore` over the database. */
export const layer: Layer.Layer<FlowStore, never, SqliteDatabase> = Layer.effect(
  FlowStore,
  Effect.map(SqliteDatabase, (database) =>
    FlowStore.of({
      reserve: (input) =>
        Effect.flatten(
          database.write("reserve", (session, now): Effect.Effect<Reservation, FlowConflict> => {
            const running = FlowRows.openFlow(session, input.key, now)
            if (running !== undefined) {
              if (input.onConflict === "reject") return Effect.fail(new FlowConflict({ running: running.id }))
              if (input.onConflict === "join") {
                return Effect.succeed({ _tag: "Joined", flow: FlowRows.flowOf(running, now) })
              }
              FlowRows.settle(session, running.id, "superseded", now)
            }
            const expiresAt = after(now, input.ttl)
            const key = ConnectionRows.valuesOf(input.key)
            session.run(
              "UPDATE flows SET newest = 0 WHERE tenant = ? AND subject = ? AND server = ? AND newest = 1",
              ...key
            )
            session.run(
              `INSERT INTO flows (tenant, subject, server, id, state, transport, confirmation, created_at, expires_at)
               VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?)`,
              ...key,
              input.id,
              input.transport,
              input.confirmation,
              now,
              expiresAt
            )
            if (input.frozen !== undefined) {
              freeze(session, input.id, input.frozen.authorization, input.frozen.ticket, now)
            }
            return Effect.succeed({
              _tag: "Reserved",
              flow: {
                id: input.id,
                key: input.key,
                state: "pending",
                transport: input.transport,
                confirmation: input.confirmation,
                snapshot: input.frozen?.authorization.snapshot,
                handOffs: 0,
                createdAt: DateTime.makeUnsafe(now),
                expiresAt: DateTime.makeUnsafe(expiresAt)
              },
              superseded: running?.id
            })
          })
        ),

      freeze: (id, frozen, ticket) =>
        database.write("freeze", (session, now) => freeze(session, id, frozen, ticket, now)),

      handOff: (id, { handOffs, transport }, frozen, ticket) =>
        database.write("handOff", (session, now) =>
          session.run(
            `UPDATE flows SET ${FlowRows.frozen}, transport = ?, hand_offs = hand_offs + 1, fence = fence + 1
             WHERE id = ? AND state = 'pending' AND expires_at > ? AND snapshot IS NOT NULL AND hand_offs = ?`,
            ...FlowRows.frozenValues(frozen, ticket, now),
            transport,
            id,
            now,
            handOffs
          ) === 1),

      findByTicket: ({ ticketHash, within }) =>
        database.read("findByTicket", (session, now) => {
          const row = session.one<FlowRows.FlowColumns>(
            "SELECT * FROM flows WHERE ticket_hash = ? AND created_at > ?",
            ticketHash,
            before(now, within)
          )
          return row === undefined || row.state_hash === null ? Option.none() : Option.some({
            flow: FlowRows.flowOf(row, now),
            stateHash: row.state_hash,
            bindingHash: row.binding_hash ?? undefined
          })
        }),

      bind: ({ bindingHash, ticketHash, within }) =>
        database.write("bind", (session, now) => {
          const row = session.one<FlowRows.FlowColumns>(
            `UPDATE flows SET binding_hash = ?
             WHERE ticket_hash = ? AND state = 'pending' AND coalesce(binding_hash, ?) = ? AND expires_at > ?
               AND created_at > ? AND authorization_url IS NOT NULL
             RETURNING *`,
            bindingHash,
            ticketHash,
            bindingHash,
            bindingHash,
            now,
            before(now, within)
          )
          return row === undefined || row.authorization_url === null ? Option.none() : Option.some({
            flow: FlowRows.flowOf(row, now),
            authorizationUrl: sealedOf(row.authorization_url)
          })
        }),

      claim: (input) =>
        database.write("claim", (session, now) => {
          const row = session.one<FlowRows.FlowColumns>(
            `UPDATE flows SET state = 'exchanging', fence = fence + 1, lease_until = ?, authorization_url = NULL
             WHERE state_hash = ? AND state = 'pending' AND binding_hash IS ? AND context = ? AND expires_at > ?
               AND (ticket_hash IS NULL OR binding_hash IS NOT NULL)
             RETURNING *`,
            after(now, input.lease),
            input.stateHash,
            input.bindingHash ?? null,
            input.context,
            now
          )
          return row === undefined ? Option.none() : Option.some(FlowRows.claimOf(row))
        }),

      hold: (id, fence, { code, completionHash, ttl }) =>
        database.write("hold", (session, now) =>
          session.run(
            `UPDATE flows SET state = 'awaiting_finalize', code = ?, completion_hash = ?, expires_at = ?, lease_until = 0
             WHERE id = ? AND state = 'exchanging' AND fence = ?`,
            code,
            completionHash,
            after(now, ttl),
            id,
            fence
          ) === 1),

      held: ({ bindingHash, context, stateHash }) =>
        database.read("held", (session, now) => {
          const row = session.one<FlowRows.FlowColumns & { readonly code: Uint8Array }>(
            `SELECT * FROM flows WHERE state_hash = ? AND state = 'awaiting_finalize' AND binding_hash IS ?
               AND context = ? AND expires_at > ? AND code IS NOT NULL`,
            stateHash,
            bindingHash ?? null,
            context,
            now
          )
          return row === undefined
            ? Option.none()
            : Option.some({ flow: FlowRows.claimOf(row), code: sealedOf(row.code) })
        }),

      resume: ({ completionHash, id, lease, subject, tenant }) =>
        database.write("resume", (session, now) => {
          const held = session.one<{ readonly code: Uint8Array }>(
            `SELECT code FROM flows WHERE tenant = ? AND id = ? AND subject = ? AND state = 'awaiting_finalize'
               AND completion_hash = ? AND expires_at > ? AND code IS NOT NULL`,
            tenant,
            id,
            subject,
            completionHash,
            now
          )
          if (held === undefined) return Option.none()
          const row = session.one<FlowRows.FlowColumns>(
            `UPDATE flows SET state = 'exchanging', fence = fence + 1, lease_until = ?, code = NULL
             WHERE tenant = ? AND id = ? RETURNING *`,
            after(now, lease),
            tenant,
            id
          )
          return Option.map(
            Option.fromUndefinedOr(row),
            (row) => ({ flow: FlowRows.claimOf(row), code: sealedOf(held.code) })
          )
        }),

      complete: (id, fence, write) =>
        database.write("complete", (session, now) => {
          const row = heldBy(session, id, fence)
          if (row === undefined) return { _tag: "ClaimLost" as const }
          const flow = FlowRows.flowOf(row, now)
          const { key } = flow
          const current = ConnectionRows.currentGeneration(session, key)
          if (current !== write.previous) return { _tag: "GenerationMoved" as const, current }
          ConnectionRows.write(session, key, write, now)
          FlowRows.settle(session, id, "completed", now)
          const settledAt = DateTime.makeUnsafe(now)
          return { _tag: "Completed" as const, flow: { ...flow, state: "completed" as const, settledAt } }
        }),

      fail: (id, fence, failure) =>
        database.write("fail", (session, now) => {
          if (heldBy(session, id, fence) === undefined) return FlowRows.settledSo(session, id, fence, failure)
          if (failure === "outcome_unknown") FlowRows.settle(session, id, failure, now)
          else FlowRows.settle(session, id, "failed", now, failure)
          return true
        }),

      abandon: (id) =>
        database.write("abandon", (session, now) => {
          session.run(
            `UPDATE flows SET ${FlowRows.settled} WHERE id = ? AND settled_at IS NULL`,
            "failed",
            "start_failed",
            now,
            id
          )
        }),

      cancel: ({ id, subject, tenant }) =>
        database.write("cancel", (session, now) => {
          const row = session.one<FlowRows.FlowColumns>(
            "SELECT * FROM flows WHERE tenant = ? AND id = ? AND subject = ? AND settled_at IS NULL",
            tenant,
            id,
            subject
          )
          if (row === undefined) return false
          const expired = FlowRows.isExpired(row, now)
          FlowRows.settle(session, id, expired ? "expired" : "cancelled", now)
          return !expired
        }),

      get: ({ id, subject, tenant }) =>
        database.read("get", (session, now) =>
          Option.map(
            Option.fromUndefinedOr(session.one<FlowRows.FlowColumns>(
              "SELECT * FROM flows WHERE tenant = ? AND id = ? AND subject = ?",
              tenant,
              id,
              subject
            )),
            (row) => FlowRows.flowOf(row, now)
          )),

      getAll: (owners) =>
        database.read("getAll", (session, now) =>
          session.all<FlowRows.FlowColumns>(
            `SELECT flows.* FROM json_each(?) AS wanted JOIN flows ON flows.id = wanted.value ->> 0
               AND flows.tenant = wanted.value ->> 1 AND flows.subject = wanted.value ->> 2`,
            JSON.stringify(owners.map(({ id, subject, tenant }) => [id, tenant, subject]))
          ).map((row) => FlowRows.flowOf(row, now))),

      ended: (within) =>
        database.read("ended", (session, now) =>
          session.all<{ readonly id: FlowId }>(
            `SELECT id FROM flows WHERE settled_at > ?
             UNION ALL
             SELECT id FROM flows WHERE state IN ('pending', 'awaiting_finalize') AND expires_at <= ? AND expires_at > ?`,
            before(now, within),
            now,
            before(now, within)
          ).map(({ id }) => id)),

      latest: (key) =>
        database.read("latest", (session, now) =>
          Option.map(
            Option.fromUndefinedOr(session.one<FlowRows.FlowColumns>(
              "SELECT * FROM flows WHERE tenant = ? AND subject = ? AND server = ? AND newest = 1",
              ...ConnectionRows.valuesOf(key)
            )),
            (row) => FlowRows.flowOf(row, now)
          )),

      findByState: (stateHash) =>
        database.read("findByState", (session, now) =>
          Option.map(
            Option.fromUndefinedOr(session.one<FlowRows.FlowColumns>(
              "SELECT * FROM flows WHERE state_hash = ?",
              stateHash
            )),
            (row) => FlowRows.flowOf(row, now)
          )),

      sweep: ({ limit, retention }) =>
        database.write("sweep", (session, now) => {
          const settle = (state: "expired" | "outcome_unknown", overdue: string, limit: number) =>
            session.all<{ readonly id: FlowId }>(
              `UPDATE flows SET ${FlowRows.settled} WHERE id IN (SELECT id FROM flows WHERE ${overdue} LIMIT ?)
               RETURNING id`,
              state,
              null,
              now,
              now,
              limit
            ).map((row) => row.id)
          const expired = settle("expired", "state IN ('pending', 'awaiting_finalize') AND expires_at <= ?", limit)
          const lost = settle("outcome_unknown", "state = 'exchanging' AND lease_until <= ?", limit - expired.length)
          session.run(
            "DELETE FROM flows WHERE id IN (SELECT id FROM flows WHERE newest = 0 AND settled_at <= ? LIMIT ?)",
            now - Math.ceil(Duration.toMillis(retention)),
            limit
          )
          return [...expired, ...lost]
        })
    }))
)

const freeze = (
  session: Session,
  id: FlowId,
  frozen: FrozenWay,
  ticket: FrozenTicket | undefined,
  now: number
): boolean =>
  session.run(
    `UPDATE flows SET ${FlowRows.frozen} WHERE id = ? AND state = 'pending' AND expires_at > ?`,
    ...FlowRows.frozenValues(frozen, ticket, now),
    id,
    now
  ) === 1

/** The begin of a duration that ends now, in whole milliseconds. */
const before = (now: number, duration: Duration.Duration): number => now - Math.floor(Duration.toMillis(duration))

/** The row that this fence alone may settle. */
const heldBy = (session: Session, id: FlowId, fence: number): FlowRows.FlowColumns | undefined =>
  session.one("SELECT * FROM flows WHERE id = ? AND state = 'exchanging' AND fence = ?", id, fence)
