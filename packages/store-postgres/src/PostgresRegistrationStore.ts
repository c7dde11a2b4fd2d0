import { Registration, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { HttpUrl } from "@valetkey/domain/Server"
import { DateTime, Effect, Layer, Option, Schema } from "effect"
import { Database } from "./Database.ts"
import { after } from "./internal/databaseTime.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `RegistrationStore` on the table `registrations`. */
export const layer: Layer.Layer<RegistrationStore, never, Database> = Layer.effect(
  RegistrationStore,
  Effect.map(Database, (database) =>
    RegistrationStore.of({
      take: (key, turn, lease) =>
        database.forTenant(key.tenant).write("RegistrationStore.take", (sql) =>
          Effect.map(
            sql`INSERT INTO registration_turns AS held (tenant, server, issuer, transport, turn, until)
              VALUES (${key.tenant}, ${key.server}, ${key.issuer}, ${key.transport}, ${turn},
                ${after(sql, lease)})
              ON CONFLICT (tenant, server, issuer, transport) DO UPDATE SET turn = excluded.turn, until = excluded.until
                WHERE held.until <= clock_timestamp()
              RETURNING turn`,
            (rows) => rows.length > 0
          )),

      give: (key, turn) =>
        database.forTenant(key.tenant).write("RegistrationStore.give", (sql) =>
          Effect.asVoid(sql`DELETE FROM registration_turns
            WHERE tenant = ${key.tenant} AND server = ${key.server} AND issuer = ${key.issuer}
              AND transport = ${key.transport} AND turn = ${turn}`)),

      get: (key) =>
        database.forTenant(key.tenant).read("RegistrationStore.get", (sql) =>
          Effect.flatMap(
            sql`SELECT client_id, auth_method, client_secret, client_secret_expires_at, redirect_uri, scopes FROM registrations
              WHERE tenant = ${key.tenant} AND server = ${key.server} AND issuer = ${key.issuer}
                AND transport = ${key.transport}`,
            ([row]) =>
              row === undefined ? Effect.succeedNone : Effect.map(read(row), Option.some)
          )),

      put: (key, registration) =>
        database.forTenant(key.tenant).write("RegistrationStore.put", (sql) =>
          Effect.asVoid(sql`INSERT INTO registrations (tenant, server, issuer, transport, client_id, auth_method,
              client_secret, client_secret_expires_at, redirect_uri, scopes, updated_at)
            VALUES (${key.tenant}, ${key.server}, ${key.issuer}, ${key.transport}, ${registration.clientId},
              ${registration.authMethod}, ${registration.clientSecret ?? null},
              ${
            registration.clientSecretExpiresAt === undefined
              ? null
              : DateTime.toDateUtc(registration.clientSecretExpiresAt)
          }, ${registration.redirectUri ?? null}, ${registration.scopes}::text[], clock_timestamp())
            ON CONFLICT (tenant, server, issuer, transport) DO UPDATE SET client_id = excluded.client_id,
              auth_method = excluded.auth_method, client_secret = excluded.client_secret,
              client_secret_expires_at = excluded.client_secret_expires_at, redirect_uri = excluded.redirect_uri,
              scopes = excluded.scopes,
              updated_at = excluded.updated_at`)),

      remove: (key, clientId) =>
        database.forTenant(key.tenant).write("RegistrationStore.remove", (sql) =>
          Effect.asVoid(sql`DELETE FROM registrations
            WHERE tenant = ${key.tenant} AND server = ${key.server} AND issuer = ${key.issuer}
              AND transport = ${key.transport} AND client_id = ${clientId}`)),

      record: (tenant, clientId) =>
        database.forTenant(tenant).write("RegistrationStore.record", (sql) =>
          Effect.asVoid(sql`INSERT INTO client_documents (tenant, client_id) VALUES (${tenant}, ${clientId})
            ON CONFLICT DO NOTHING`)),

      isOnRecord: (clientId) =>
        database.acrossTenants.read("RegistrationStore.isOnRecord", (sql) =>
          Effect.map(
            sql`SELECT FROM client_documents WHERE client_id = ${clientId} LIMIT 1`,
            (rows) =>
              rows.length > 0
          ))
    }))
)

const RegistrationRow = Schema.Struct({
  clientId: Registration.fields.clientId,
  authMethod: Registration.fields.authMethod,
  clientSecret: Schema.NullOr(Schema.Uint8Array),
  clientSecretExpiresAt: Schema.NullOr(Schema.DateTimeUtcFromDate),
  redirectUri: Schema.NullOr(HttpUrl),
  scopes: Registration.fields.scopes
})

const decodeRow = Schema.decodeUnknownEffect(RegistrationRow)
const makeRegistration = Schema.decodeUnknownEffect(Schema.toType(Registration))

const read = (row: unknown) =>
  decodeRow(row).pipe(
    Effect.flatMap(({ clientSecret, clientSecretExpiresAt, redirectUri, ...rest }) =>
      makeRegistration({
        ...rest,
        ...(redirectUri === null ? undefined : { redirectUri }),
        ...(clientSecret === null ? undefined : { clientSecret }),
        ...(clientSecretExpiresAt === null ? undefined : { clientSecretExpiresAt })
      })
    ),
    Effect.mapError((error) => storeError("RegistrationStore.get", error))
  )
