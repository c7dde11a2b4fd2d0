import { KeyRegister, KeyState } from "@valetkey/domain/KeyRegister"
import { Effect, Layer, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `KeyRegister` on the table `root_keys`. */
export const layer: Layer.Layer<KeyRegister, never, Database> = Layer.effect(
  KeyRegister,
  Effect.map(Database, (database) =>
    KeyRegister.of({
      list: database.read("KeyRegister.list", (sql) =>
        Effect.flatMap(
          sql`SELECT id::float8 AS id, check_value, state, first_seen_at FROM root_keys ORDER BY root_keys.id`,
          (rows) => Effect.mapError(decodeKeys(rows), (error) => storeError("KeyRegister.list", error))
        )),

      enroll: (held) =>
        database.transaction("KeyRegister.enroll", (sql) =>
          Effect.gen(function*() {
            yield* takeTurn(sql)
            for (const { checkValue, id } of held) {
              yield* sql`INSERT INTO root_keys (id, check_value, state, first_seen_at)
                VALUES (${id}, ${checkValue}, 'active', clock_timestamp()) ON CONFLICT DO NOTHING`
            }
            yield* sql`UPDATE root_keys SET state = 'primary' WHERE id = ${held[0]?.id ?? null}::bigint
              AND state = 'active' AND NOT EXISTS (SELECT FROM root_keys WHERE state = 'primary')`
          })),

      promote: (id) =>
        database.transaction("KeyRegister.promote", (sql) =>
          Effect.gen(function*() {
            yield* takeTurn(sql)
            const [key] = yield* sql<{ state: string }>`SELECT state FROM root_keys WHERE id = ${id}::bigint`
            if (key?.state === "active") {
              yield* sql`UPDATE root_keys SET state = 'active', demoted_at = clock_timestamp() WHERE state = 'primary'`
              yield* sql`UPDATE root_keys SET state = 'primary' WHERE id = ${id}::bigint`
            }
            return key?.state === "active" || key?.state === "primary"
          })),

      retire: (id, quiet) =>
        database.write("KeyRegister.retire", (sql) =>
          Effect.map(
            sql`UPDATE root_keys SET state = 'retired' WHERE id = ${id}::bigint AND (state = 'retired'
                OR state = 'active' AND coalesce(demoted_at
                  <= ${before(sql, quiet)}, true))
              RETURNING state`,
            (rows) => rows.length > 0
          ))
    }))
)

/** Replicas that start together and operators that act together wait for each other here. Readers do not. */
const takeTurn = (sql: Sql) => sql`LOCK TABLE root_keys IN SHARE ROW EXCLUSIVE MODE`

const decodeKeys = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({
  id: Schema.Natural,
  checkValue: Schema.String,
  state: KeyState,
  firstSeenAt: Schema.DateTimeUtcFromDate
})))
