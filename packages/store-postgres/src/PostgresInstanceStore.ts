import { InstanceStore } from "@valetkey/domain/InstanceStore"
import { Effect, Layer, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `InstanceStore` on the table `instance`. */
export const layer: Layer.Layer<InstanceStore, never, Database> = Layer.effect(
  InstanceStore,
  Effect.map(Database, (database) =>
    InstanceStore.of({
      claim: (id) =>
        Effect.gen(function*() {
          const [found] = yield* database.read("InstanceStore.claim", select)
          if (found !== undefined) return yield* decode(found)
          yield* database.write(
            "InstanceStore.claim",
            (sql) => sql`INSERT INTO instance (one, id) VALUES (true, ${id}) ON CONFLICT DO NOTHING`
          )
          // Whoever was first, the row is there now and is never deleted.
          const [claimed] = yield* database.write("InstanceStore.claim", select)
          return yield* decode(claimed)
        }),

      takeOver: (from, to) =>
        database.write("InstanceStore.takeOver", (sql) =>
          Effect.map(
            sql`UPDATE instance SET id = ${to}, taken_over_at = clock_timestamp(),
                former = array_append(array_remove(array_remove(former, ${from}::text), ${to}::text), ${from}::text)
              WHERE id = ${from}
              RETURNING id`,
            (rows) => rows.length > 0
          ))
    }))
)

const select = (sql: Sql) => sql`SELECT id, former, taken_over_at FROM instance`

const Row = Schema.Struct({
  id: Schema.String,
  former: Schema.Array(Schema.String),
  takenOverAt: Schema.NullOr(Schema.DateTimeUtcFromDate)
})

const decode = (row: unknown) =>
  Schema.decodeUnknownEffect(Row)(row).pipe(
    Effect.map(({ takenOverAt, ...record }) => ({ ...record, takenOverAt: takenOverAt ?? undefined })),
    Effect.mapError((error) => storeError("InstanceStore.claim", error))
  )
