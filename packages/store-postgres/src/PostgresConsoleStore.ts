import { type ConsoleSession, ConsoleSessionId } from "@valetkey/domain/ConsoleSession"
import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Duration, Effect, Layer, Option, Schema } from "effect"
import { Database, type Sql } from "./Database.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `ConsoleStore` on the table `console_sessions`. */
export const layer: Layer.Layer<ConsoleStore, never, Database> = Layer.effect(
  ConsoleStore,
  Effect.map(Database, (database) =>
    ConsoleStore.of({
      offer: (draft, { ticketHash, within }) =>
        database.forTenant(draft.tenant).write("ConsoleStore.offer", (sql) =>
          Effect.flatMap(
            sql`INSERT INTO console_sessions (tenant, id, subject, scopes, ticket_hash, ticket_until, created_at,
                expires_at, seen_at)
              SELECT ${draft.tenant}, ${draft.id}, ${draft.subject}, ${draft.scopes}::text[], ${ticketHash},
                now + ${millis(sql, within)}, now, now + ${millis(sql, within)}, now
              FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS now) AS clock
              RETURNING ${sql.literal(columns)}`,
            ([row]) => Effect.map(read("ConsoleStore.offer", row), ({ session }) => session)
          )),

      find: (ticketHash) =>
        database.acrossTenants.read("ConsoleStore.find", (sql) =>
          Effect.flatMap(
            sql`SELECT ${sql.literal(columns)} FROM console_sessions
              WHERE ticket_hash = ${ticketHash} AND ticket_until > clock_timestamp()`,
            ([row]) => row === undefined ? Effect.succeedNone : Effect.map(read("ConsoleStore.find", row), Option.some)
          )),

      take: ({ lifetime, sessionHash, ticketHash }) =>
        database.acrossTenants.write("ConsoleStore.take", (sql) =>
          Effect.flatMap(
            sql`UPDATE console_sessions SET session_hash = ${sessionHash}, seen_at = clock_timestamp(),
                expires_at = date_trunc('milliseconds', clock_timestamp()) + ${millis(sql, lifetime)}
              WHERE ticket_hash = ${ticketHash} AND ticket_until > clock_timestamp() AND session_hash IS NULL
              RETURNING ${sql.literal(columns)}`,
            ([row]) => maybe("ConsoleStore.take", row)
          )),

      visit: ({ coarseness, idle, sessionHash }) =>
        Effect.gen(function*() {
          const [row] = yield* database.acrossTenants.read("ConsoleStore.visit", (sql) =>
            sql`SELECT ${sql.literal(columns)},
                seen_at <= clock_timestamp() - ${millis(sql, coarseness)} AS due
              FROM console_sessions WHERE session_hash = ${sessionHash} AND expires_at > clock_timestamp()
                AND seen_at > clock_timestamp() - ${millis(sql, idle)}`)
          if (row?.["due"] === true) {
            yield* database.acrossTenants.write(
              "ConsoleStore.visit",
              (sql) => sql`UPDATE console_sessions SET seen_at = clock_timestamp() WHERE session_hash = ${sessionHash}`
            )
          }
          return yield* maybe("ConsoleStore.visit", row)
        }),

      end: (sessionHash) =>
        database.acrossTenants.write("ConsoleStore.end", (sql) =>
          Effect.flatMap(
            sql`DELETE FROM console_sessions WHERE session_hash = ${sessionHash} RETURNING ${sql.literal(columns)}`,
            ([row]) => maybe("ConsoleStore.end", row)
          )),

      sweep: (limit) =>
        database.acrossTenants.write("ConsoleStore.sweep", (sql) =>
          Effect.map(
            sql`DELETE FROM console_sessions WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM console_sessions WHERE expires_at <= clock_timestamp() LIMIT ${limit}
              )) AND expires_at <= clock_timestamp() RETURNING 1`,
            (rows) => rows.length
          ))
    }))
)

const columns = "tenant, id, subject, scopes, created_at, expires_at, session_hash IS NOT NULL AS taken"

const millis = (sql: Sql, duration: Duration.Duration) =>
  sql`${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`

const decodeRow = Schema.decodeUnknownEffect(Schema.Struct({
  tenant: TenantId,
  id: ConsoleSessionId,
  subject: SubjectId,
  scopes: Schema.Array(Schema.String),
  createdAt: Schema.DateTimeUtcFromDate,
  expiresAt: Schema.DateTimeUtcFromDate,
  taken: Schema.Boolean
}))

const read = (operation: string, row: unknown) =>
  decodeRow(row).pipe(
    Effect.map(({ taken, ...session }) => ({ taken, session: session satisfies ConsoleSession })),
    Effect.mapError((error) => storeError(operation, error))
  )

const maybe = (operation: string, row: unknown) =>
  row === undefined
    ? Effect.succeedNone
    : Effect.map(read(operation, row), ({ session }) => Option.some<ConsoleSession>(session))
