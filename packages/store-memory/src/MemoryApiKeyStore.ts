import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import { atomicallyOf } from "./internal/deletions.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `ApiKeyStore` over the shared state. */
export const layer: Layer.Layer<ApiKeyStore, never, MemoryWorld> = Layer.effect(
  ApiKeyStore,
  Effect.map(MemoryWorld, ({ apiKeys, deletions }) =>
    ApiKeyStore.of({
      create: (draft, { digest, lifetime }) =>
        atomicallyOf({ deletions }, draft.tenant, "create", (now) => {
          const key = {
            ...draft,
            createdAt: DateTime.makeUnsafe(now),
            expiresAt: DateTime.makeUnsafe(now + Math.ceil(Duration.toMillis(lifetime)))
          }
          apiKeys.set(key.id, { key, digest })
          return key
        }),
      findLive: (id) =>
        atomically((now) =>
          Option.filter(
            Option.fromUndefinedOr(apiKeys.get(id)),
            ({ key }) => key.revokedAt === undefined && DateTime.toEpochMillis(key.expiresAt) > now
          )
        ),
      list: (input) =>
        Effect.sync(() =>
          [...apiKeys.values()]
            .map(({ key }) => key)
            .filter((key) => key.tenant === input.tenant && (input.after === undefined || key.id > input.after))
            .sort((a, b) => a.id < b.id ? -1 : 1)
            .slice(0, input.limit)
        ),
      revoke: (tenant, id) =>
        atomically((now) => {
          const row = apiKeys.get(id)
          if (row?.key.tenant !== tenant) return false
          const revokedAt = row.key.revokedAt ?? DateTime.makeUnsafe(now)
          apiKeys.set(id, { ...row, key: { ...row.key, revokedAt } })
          return true
        }),
      touch: (tenant, id, coarseness) =>
        atomically((now) => {
          const row = apiKeys.get(id)
          if (row?.key.tenant !== tenant) return
          const { lastUsedAt } = row.key
          const due = lastUsedAt === undefined ||
            DateTime.toEpochMillis(lastUsedAt) + Duration.toMillis(coarseness) <= now
          if (due) apiKeys.set(id, { ...row, key: { ...row.key, lastUsedAt: DateTime.makeUnsafe(now) } })
        })
    }))
)
