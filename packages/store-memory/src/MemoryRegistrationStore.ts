import { type RegistrationKey, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { rowOf } from "@valetkey/domain/Sealed"
import { Effect, Layer, Option } from "effect"
import { atomicallyOf } from "./internal/deletions.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `RegistrationStore` over the shared state. */
export const layer: Layer.Layer<RegistrationStore, never, MemoryWorld> = Layer.effect(
  RegistrationStore,
  Effect.map(MemoryWorld, ({ deletions, registrations }) =>
    RegistrationStore.of({
      get: (key) => Effect.sync(() => Option.fromUndefinedOr(registrations.get(pathOf(key)))),
      put: (key, registration) =>
        atomicallyOf({ deletions }, key.tenant, "put", () => void registrations.set(pathOf(key), registration)),
      remove: (key, clientId) =>
        Effect.sync(() => {
          if (registrations.get(pathOf(key))?.clientId === clientId) registrations.delete(pathOf(key))
        })
    }))
)

const pathOf = (key: RegistrationKey): string => rowOf(key.tenant, key.server, key.issuer, key.transport)
