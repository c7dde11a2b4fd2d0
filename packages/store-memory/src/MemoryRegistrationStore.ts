import { type RegistrationKey, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { rowOf } from "@valetkey/domain/Sealed"
import { Duration, Effect, Layer, Option } from "effect"
import { atomicallyOf } from "./internal/deletions.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `RegistrationStore` over the shared state. */
export const layer: Layer.Layer<RegistrationStore, never, MemoryWorld> = Layer.effect(
  RegistrationStore,
  Effect.map(MemoryWorld, ({ clientDocuments, deletions, registrations, registrationTurns }) =>
    RegistrationStore.of({
      take: (key, turn, lease) =>
        atomicallyOf({ deletions }, key.tenant, "take", (now) => {
          const held = registrationTurns.get(pathOf(key))
          if (held !== undefined && held.until > now) return false
          registrationTurns.set(pathOf(key), { turn, until: now + Duration.toMillis(lease) })
          return true
        }),
      give: (key, turn) =>
        Effect.sync(() => {
          if (registrationTurns.get(pathOf(key))?.turn === turn) registrationTurns.delete(pathOf(key))
        }),
      get: (key) => Effect.sync(() => Option.fromUndefinedOr(registrations.get(pathOf(key)))),
      put: (key, registration) =>
        atomicallyOf({ deletions }, key.tenant, "put", () => void registrations.set(pathOf(key), registration)),
      remove: (key, clientId) =>
        Effect.sync(() => {
          if (registrations.get(pathOf(key))?.clientId === clientId) registrations.delete(pathOf(key))
        }),
      record: (tenant, clientId) =>
        atomicallyOf(
          { deletions },
          tenant,
          "record",
          () => void clientDocuments.set(rowOf(tenant, clientId), clientId)
        ),
      isOnRecord: (clientId) => Effect.sync(() => [...clientDocuments.values()].includes(clientId))
    }))
)

const pathOf = (key: RegistrationKey): string => rowOf(key.tenant, key.server, key.issuer, key.transport)
