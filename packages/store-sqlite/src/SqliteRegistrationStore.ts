import { type Registration, type RegistrationKey, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { sealedOf } from "./internal/columns.ts"
import { fromJson } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `RegistrationStore` over the database. */
export const layer: Layer.Layer<RegistrationStore, never, SqliteDatabase> = Layer.effect(
  RegistrationStore,
  Effect.map(SqliteDatabase, (database) =>
    RegistrationStore.of({
      take: (key, turn, lease) =>
        database.write("take", (session, now) =>
          session.run(
            `INSERT INTO registration_turns (tenant, server, issuer, transport, turn, until) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant, server, issuer, transport) DO UPDATE SET turn = excluded.turn, until = excluded.until
             WHERE registration_turns.until <= ?`,
            ...valuesOf(key),
            turn,
            now + Duration.toMillis(lease),
            now
          ) > 0),

      give: (key, turn) =>
        database.write("give", (session) => {
          session.run(
            `DELETE FROM registration_turns
             WHERE tenant = ? AND server = ? AND issuer = ? AND transport = ? AND turn = ?`,
            ...valuesOf(key),
            turn
          )
        }),

      get: (key) =>
        database.read("get", (session) =>
          Option.map(
            Option.fromUndefinedOr(session.one<RegistrationColumns>(
              "SELECT * FROM registrations WHERE tenant = ? AND server = ? AND issuer = ? AND transport = ?",
              ...valuesOf(key)
            )),
            registrationOf
          )),

      put: (key, registration) =>
        database.write("put", (session) => {
          session.run(
            `INSERT OR REPLACE INTO registrations (tenant, server, issuer, transport, client_id, auth_method,
               client_secret, client_secret_expires_at, redirect_uri, scopes)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
            ...valuesOf(key),
            registration.clientId,
            registration.authMethod,
            registration.clientSecret ?? null,
            registration.clientSecretExpiresAt === undefined
              ? null
              : DateTime.toEpochMillis(registration.clientSecretExpiresAt),
            // The column may not be empty, and no URL is.
            registration.redirectUri ?? "",
            JSON.stringify(registration.scopes)
          )
        }),

      remove: (key, clientId) =>
        database.write("remove", (session) => {
          session.run(
            `DELETE FROM registrations
             WHERE tenant = ? AND server = ? AND issuer = ? AND transport = ? AND client_id = ?`,
            ...valuesOf(key),
            clientId
          )
        }),

      record: (tenant, clientId) =>
        database.write("record", (session) => {
          session.run(
            "INSERT INTO client_documents (tenant, client_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
            tenant,
            clientId
          )
        }),

      isOnRecord: (clientId) =>
        database.read(
          "isOnRecord",
          (session) => session.tuple("SELECT 1 FROM client_documents WHERE client_id = ?", clientId) !== undefined
        )
    }))
)

interface RegistrationColumns {
  readonly client_id: string
  readonly auth_method: Registration["authMethod"]
  readonly client_secret: Uint8Array | null
  readonly client_secret_expires_at: number | null
  readonly redirect_uri: string
  readonly scopes: string
}

const valuesOf = (key: RegistrationKey) => [key.tenant, key.server, key.issuer, key.transport] as const

const registrationOf = (row: RegistrationColumns): Registration => ({
  clientId: row.client_id,
  authMethod: row.auth_method,
  ...(row.redirect_uri === "" ? undefined : { redirectUri: row.redirect_uri }),
  scopes: fromJson<ReadonlyArray<string>>(row.scopes),
  ...(row.client_secret === null ? undefined : { clientSecret: sealedOf(row.client_secret) }),
  ...(row.client_secret_expires_at === null
    ? undefined
    : { clientSecretExpiresAt: DateTime.makeUnsafe(row.client_secret_expires_at) })
})
