import { type InstanceRecord, InstanceStore } from "@valetkey/domain/InstanceStore"
import { DateTime, Effect, Layer } from "effect"
import type { Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `InstanceStore` over the database. */
export const layer: Layer.Layer<InstanceStore, never, SqliteDatabase> = Layer.effect(
  InstanceStore,
  Effect.map(SqliteDatabase, (database) =>
    InstanceStore.of({
      claim: (id) =>
        Effect.flatMap(
          database.read("claim", recordOf),
          (found) =>
            found !== undefined ? Effect.succeed(found) : database.write("claim", (session) => {
              session.run("INSERT INTO instance (one, id, former) VALUES (1, ?, '[]') ON CONFLICT DO NOTHING", id)
              return recordOf(session)!
            })
        ),

      takeOver: (from, to) =>
        database.write("takeOver", (session, now) => {
          const record = recordOf(session)
          if (record?.id !== from) return false
          const former = [...record.former.filter((id) => id !== from && id !== to), from]
          session.run("UPDATE instance SET id = ?, former = ?, taken_over_at = ?", to, JSON.stringify(former), now)
          return true
        })
    }))
)

interface InstanceColumns {
  readonly id: string
  readonly former: string
  readonly taken_over_at: number | null
}

const recordOf = (session: Session): InstanceRecord | undefined => {
  const row = session.one<InstanceColumns>("SELECT id, former, taken_over_at FROM instance")
  return row && {
    id: row.id,
    former: JSON.parse(row.former) as ReadonlyArray<string>,
    takenOverAt: row.taken_over_at === null ? undefined : DateTime.makeUnsafe(row.taken_over_at)
  }
}
