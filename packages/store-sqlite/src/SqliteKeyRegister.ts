import { KeyRegister, type RegisteredKey } from "@valetkey/domain/KeyRegister"
import { DateTime, Duration, Effect, Layer } from "effect"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `KeyRegister` over the database. */
export const layer: Layer.Layer<KeyRegister, never, SqliteDatabase> = Layer.effect(
  KeyRegister,
  Effect.map(SqliteDatabase, (database) =>
    KeyRegister.of({
      list: database.read("list", (session) =>
        session.all<KeyColumns>("SELECT id, check_value, state, first_seen_at FROM root_keys ORDER BY id").map(keyOf)),

      enroll: (held) =>
        database.write("enroll", (session, now) => {
          for (const { checkValue, id } of held) {
            session.run(
              `INSERT INTO root_keys (id, check_value, state, first_seen_at) VALUES (?, ?, 'active', ?)
               ON CONFLICT DO NOTHING`,
              id,
              checkValue,
              now
            )
          }
          session.run(
            `UPDATE root_keys SET state = 'primary' WHERE id = ? AND state = 'active'
               AND NOT EXISTS (SELECT 1 FROM root_keys WHERE state = 'primary')`,
            held[0]?.id ?? null
          )
        }),

      promote: (id) =>
        database.write("promote", (session, now) => {
          const state = session.one<Pick<KeyColumns, "state">>("SELECT state FROM root_keys WHERE id = ?", id)?.state
          if (state === "active") {
            session.run("UPDATE root_keys SET state = 'active', demoted_at = ? WHERE state = 'primary'", now)
            session.run("UPDATE root_keys SET state = 'primary' WHERE id = ?", id)
          }
          return state === "active" || state === "primary"
        }),

      retire: (id, quiet) =>
        database.write("retire", (session, now) =>
          session.run(
            `UPDATE root_keys SET state = 'retired'
             WHERE id = ? AND (state = 'retired' OR state = 'active' AND coalesce(demoted_at <= ?, 1))`,
            id,
            now - Duration.toMillis(quiet)
          ) === 1)
    }))
)

interface KeyColumns {
  readonly id: number
  readonly check_value: string
  readonly state: RegisteredKey["state"]
  readonly first_seen_at: number
}

const keyOf = (row: KeyColumns): RegisteredKey => ({
  id: row.id,
  checkValue: row.check_value,
  state: row.state,
  firstSeenAt: DateTime.makeUnsafe(row.first_seen_at)
})
