import { type ApiKey, ApiKeyId } from "@valetkey/domain/ApiKey"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import { Digest } from "@valetkey/domain/Entropy"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Layer, Option, Schema } from "effect"
import { Database } from "./Database.ts"
import { orNull } from "./internal/columns.ts"
import { before } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `ApiKeyStore` on the table `api_keys`. */
export const layer: Layer.Layer<ApiKeyStore, never, Database> = Layer.effect(
  ApiKeyStore,
  Effect.map(Database, (database) =>
    ApiKeyStore.of({
      create: (draft, { digest, lifetime }) =>
        database.forTenant(draft.tenant).write("ApiKeyStore.create", (sql) =>
          Effect.flatMap(
            sql`INSERT INTO api_keys (tenant, id, subject, name, digest, scopes, created_at, expires_at)
              SELECT ${draft.tenant}, ${draft.id}, ${draft.subject}, ${draft.name}, ${digest}, ${draft.scopes}::text[],
                now, now + ${Duration.toMillis(lifetime)}::float8 * interval '1 millisecond'
              FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS now) AS clock
              RETURNING ${sql.literal(columns)}`,
            ([row]) => Effect.map(read("ApiKeyStore.create", row), ({ key }) => key)
          )),

      findLive: (id) =>
        database.acrossTenants.read("ApiKeyStore.findLive", (sql) =>
          Effect.flatMap(
            sql`SELECT ${sql.literal(columns)} FROM api_keys
              WHERE id = ${id} AND revoked_at IS NULL AND expires_at > clock_timestamp()`,
            ([row]) =>
              row === undefined ? Effect.succeedNone : Effect.map(read("ApiKeyStore.findLive", row), Option.some)
          )),

      list: (input) =>
        database.forTenant(input.tenant).read("ApiKeyStore.list", (sql) =>
          Effect.flatMap(
            sql`SELECT ${sql.literal(columns)} FROM api_keys
              WHERE tenant = ${input.tenant} AND id > ${input.after ?? ""} ORDER BY id LIMIT ${input.limit}`,
            Effect.forEach((row) => Effect.map(read("ApiKeyStore.list", row), ({ key }) => key))
          )),

      revoke: (tenant, id) =>
        database.forTenant(tenant).write("ApiKeyStore.revoke", (sql) =>
          Effect.map(
            sql`UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp())
              WHERE tenant = ${tenant} AND id = ${id} RETURNING id`,
            (rows) => rows.length > 0
          )),

      touch: (tenant, id, coarseness) =>
        database.forTenant(tenant).write("ApiKeyStore.touch", (sql) =>
          Effect.asVoid(sql`UPDATE api_keys SET last_used_at = clock_timestamp()
            WHERE tenant = ${tenant} AND id = ${id} AND (last_used_at IS NULL OR last_used_at
              <= ${before(sql, coarseness)})`))
    }))
)

const columns = "tenant, id, subject, name, digest, scopes, created_at, expires_at, revoked_at, last_used_at"

const decodeRow = Schema.decodeUnknownEffect(Schema.Struct({
  tenant: TenantId,
  id: ApiKeyId,
  subject: SubjectId,
  name: Schema.String,
  digest: Digest,
  scopes: Schema.Array(Schema.String),
  createdAt: Schema.Date,
  expiresAt: Schema.Date,
  revokedAt: orNull(Schema.Date),
  lastUsedAt: orNull(Schema.Date)
}))

const read = (operation: string, row: unknown) =>
  decodeRow(row).pipe(
    Effect.map(({ createdAt, digest, expiresAt, lastUsedAt, revokedAt, ...rest }) => {
      const key: ApiKey = {
        ...rest,
        createdAt: DateTime.fromDateUnsafe(createdAt),
        expiresAt: DateTime.fromDateUnsafe(expiresAt),
        ...(revokedAt === null ? {} : { revokedAt: DateTime.fromDateUnsafe(revokedAt) }),
        ...(lastUsedAt === null ? {} : { lastUsedAt: DateTime.fromDateUnsafe(lastUsedAt) })
      }
      return { key, digest }
    }),
    Effect.mapError((error) => storeError(operation, error))
  )
