import type { ConsoleSession } from "@valetkey/domain/ConsoleSession"
import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { after } from "./internal/columns.ts"
import { fromJson } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `ConsoleStore` over the database. */
export const layer: Layer.Layer<ConsoleStore, never, SqliteDatabase> = Layer.effect(
  ConsoleStore,
  Effect.map(SqliteDatabase, (database) =>
    ConsoleStore.of({
      offer: (draft, { ticketHash, within }) =>
        database.write("offer", (session, now) =>
          sessionOf(
            session.one<ConsoleColumns>(
              `INSERT INTO console_sessions (tenant, id, subject, scopes, ticket_hash, ticket_until, created_at,
               expires_at, seen_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
              draft.tenant,
              draft.id,
              draft.subject,
              JSON.stringify(draft.scopes),
              ticketHash,
              after(now, within),
              now,
              after(now, within),
              now
            )!
          )),

      find: (ticketHash) =>
        database.read("find", (session, now) =>
          Option.map(
            Option.fromUndefinedOr(session.one<ConsoleColumns>(
              "SELECT * FROM console_sessions WHERE ticket_hash = ? AND ticket_until > ?",
              ticketHash,
              now
            )),
            (row) => ({ session: sessionOf(row), taken: row.session_hash !== null })
          )),

      take: ({ lifetime, sessionHash, ticketHash }) =>
        database.write("take", (session, now) =>
          maybe(session.one<ConsoleColumns>(
            `UPDATE console_sessions SET session_hash = ?, expires_at = ?, seen_at = ?
             WHERE ticket_hash = ? AND ticket_until > ? AND session_hash IS NULL RETURNING *`,
            sessionHash,
            after(now, lifetime),
            now,
            ticketHash,
            now
          ))),

      visit: ({ coarseness, idle, sessionHash }) =>
        database.write("visit", (session, now) => {
          const row = session.one<ConsoleColumns>(
            "SELECT * FROM console_sessions WHERE session_hash = ? AND expires_at > ? AND seen_at > ?",
            sessionHash,
            now,
            now - Duration.toMillis(idle)
          )
          if (row !== undefined && row.seen_at <= now - Duration.toMillis(coarseness)) {
            session.run("UPDATE console_sessions SET seen_at = ? WHERE session_hash = ?", now, sessionHash)
          }
          return maybe(row)
        }),

      end: (sessionHash) =>
        database.write("end", (session) =>
          maybe(session.one<ConsoleColumns>(
            "DELETE FROM console_sessions WHERE session_hash = ? RETURNING *",
            sessionHash
          ))),

      sweep: (limit) =>
        database.write("sweep", (session, now) =>
          session.run(
            `DELETE FROM console_sessions WHERE rowid IN (
               SELECT rowid FROM console_sessions WHERE expires_at <= ? LIMIT ?
             )`,
            now,
            limit
          ))
    }))
)

interface ConsoleColumns extends Pick<ConsoleSession, "tenant" | "id" | "subject"> {
  readonly scopes: string
  readonly session_hash: string | null
  readonly created_at: number
  readonly expires_at: number
  readonly seen_at: number
}

const maybe = (row: ConsoleColumns | undefined): Option.Option<ConsoleSession> =>
  Option.map(Option.fromUndefinedOr(row), sessionOf)

const sessionOf = (row: ConsoleColumns): ConsoleSession => ({
  id: row.id,
  tenant: row.tenant,
  subject: row.subject,
  scopes: fromJson<ReadonlyArray<string>>(row.scopes),
  createdAt: DateTime.makeUnsafe(row.created_at),
  expiresAt: DateTime.makeUnsafe(row.expires_at)
})
