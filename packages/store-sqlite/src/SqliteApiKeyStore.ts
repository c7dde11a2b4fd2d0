import type { ApiKey } from "@valetkey/domain/ApiKey"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import type { Digest } from "@valetkey/domain/Entropy"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { after } from "./internal/columns.ts"
import { fromJson } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `ApiKeyStore` over the database. */
export const layer: Layer.Layer<ApiKeyStore, never, SqliteDatabase> = Layer.effect(
  ApiKeyStore,
  Effect.map(SqliteDatabase, (database) =>
    ApiKeyStore.of({
      create: (draft, { digest, lifetime }) =>
        database.write("create", (session, now) => {
          session.run(
            `INSERT INTO api_keys (tenant, id, subject, name, digest, scopes, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
            draft.tenant,
            draft.id,
            draft.subject,
            draft.name,
            digest,
            JSON.stringify(draft.scopes),
            now,
            after(now, lifetime)
          )
          return keyOf(session.one<ApiKeyColumns>("SELECT * FROM api_keys WHERE id = ?", draft.id)!)
        }),

      findLive: (id) =>
        database.read("findLive", (session, now) =>
          Option.map(
            Option.fromUndefinedOr(session.one<ApiKeyColumns>(
              "SELECT * FROM api_keys WHERE id = ? AND revoked_at IS NULL AND expires_at > ?",
              id,
              now
            )),
            (row) => ({ key: keyOf(row), digest: row.digest })
          )),

      list: (input) =>
        database.read("list", (session) =>
          session.all<ApiKeyColumns>(
            "SELECT * FROM api_keys WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
            input.tenant,
            input.after ?? "",
            input.limit
          ).map(keyOf)),

      revoke: (tenant, id) =>
        database.write("revoke", (session, now) =>
          session.run(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE tenant = ? AND id = ?",
            now,
            tenant,
            id
          ) === 1),

      touch: (tenant, id, coarseness) =>
        database.write("touch", (session, now) => {
          session.run(
            `UPDATE api_keys SET last_used_at = ?
             WHERE tenant = ? AND id = ? AND (last_used_at IS NULL OR last_used_at <= ?)`,
            now,
            tenant,
            id,
            now - Duration.toMillis(coarseness)
          )
        })
    }))
)

interface ApiKeyColumns extends Pick<ApiKey, "tenant" | "id" | "subject" | "name"> {
  readonly digest: Digest
  readonly scopes: string
  readonly created_at: number
  readonly expires_at: number
  readonly revoked_at: number | null
  readonly last_used_at: number | null
}

const keyOf = (row: ApiKeyColumns): ApiKey => ({
  id: row.id,
  tenant: row.tenant,
  subject: row.subject,
  name: row.name,
  scopes: fromJson<ReadonlyArray<string>>(row.scopes),
  createdAt: DateTime.makeUnsafe(row.created_at),
  expiresAt: DateTime.makeUnsafe(row.expires_at),
  ...(row.revoked_at === null ? {} : { revokedAt: DateTime.makeUnsafe(row.revoked_at) }),
  ...(row.last_used_at === null ? {} : { lastUsedAt: DateTime.makeUnsafe(row.last_used_at) })
})
