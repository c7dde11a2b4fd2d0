import {
  decideAdmission,
  decideAnswer,
  healthy,
  isExpected,
  isHealthy,
  isPast,
  longestSlot
} from "@valetkey/domain/Pacing"
import { type PacedEndpoint, PacingStore } from "@valetkey/domain/PacingStore"
import { isToCome } from "@valetkey/domain/StoredTime"
import { Duration, Effect, Layer } from "effect"
import { atomically } from "./internal/atomically.ts"
import { atomicallyOf } from "./internal/deletions.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `PacingStore` over the shared state. */
export const layer: Layer.Layer<PacingStore, never, MemoryWorld> = Layer.effect(
  PacingStore,
  Effect.map(MemoryWorld, (world) => {
    const pathOf = ({ tenant, tokenEndpoint }: PacedEndpoint) => JSON.stringify([tenant, tokenEndpoint])
    const stateOf = (endpoint: PacedEndpoint) => world.endpoints.get(pathOf(endpoint))?.state

    return PacingStore.of({
      admit: (endpoint, { lease }) =>
        atomically((now) => {
          const state = stateOf(endpoint)
          const { admission, next } = decideAdmission(state ?? healthy, { lease, now })
          if (next !== undefined) world.endpoints.set(pathOf(endpoint), { tenant: endpoint.tenant, state: next })
          return { admission, healthy: state === undefined }
        }),

      report: (endpoint, answer) =>
        atomicallyOf(world, endpoint.tenant, "report", (now) => {
          const before = stateOf(endpoint)
          if (before === undefined && isExpected(answer)) return { healthy: true, changed: false }
          if (!isExpected(answer)) {
            for (const [path, { state, tenant }] of world.endpoints) {
              if (tenant === endpoint.tenant && isPast(state, now)) world.endpoints.delete(path)
            }
          }
          const state = decideAnswer(before ?? healthy, { answer, now })
          if (isHealthy(state, now)) world.endpoints.delete(pathOf(endpoint))
          else world.endpoints.set(pathOf(endpoint), { tenant: endpoint.tenant, state })
          return { healthy: isHealthy(state, now), changed: true }
        }),

      acquire: ({ cap, count, holder, lease, provider }) =>
        atomically((now) => {
          const slots = world.redemptionSlots.get(provider) ?? new Map<number, never>()
          const taken: Array<number> = []
          for (let slot = 1; slot <= cap && taken.length < count; slot++) {
            if (!isToCome(slots.get(slot)?.leaseUntil ?? 0, { now, longest: longestSlot })) taken.push(slot)
          }
          const leaseUntil = now + Duration.toMillis(lease)
          world.redemptionSlots.set(
            provider,
            new Map([...slots, ...taken.map((slot) => [slot, { holder, leaseUntil }] as const)])
          )
          return taken
        }),

      release: ({ holder, provider, slot }) =>
        Effect.sync(() => {
          const slots = world.redemptionSlots.get(provider)
          if (slots?.get(slot)?.holder === holder) slots.delete(slot)
        })
    })
  })
)
