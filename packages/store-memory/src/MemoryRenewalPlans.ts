import { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import { type ConnectionRow, MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `RenewalPlans` over the shared state. */
export const layer: Layer.Layer<RenewalPlans, never, MemoryWorld> = Layer.effect(
  RenewalPlans,
  Effect.map(MemoryWorld, ({ connections }) => {
    const planned = () => [...connections.values()].filter(isPlanned).sort((one, other) => one.renewAt - other.renewAt)

    return RenewalPlans.of({
      take: ({ lease, limit }) =>
        atomically((now) => {
          const ofTenants = Map.groupBy(planned().filter(({ renewAt }) => renewAt <= now), tenantOf)
          const turns = [...ofTenants.values()].flatMap((rows) => rows.map((row, turn) => ({ row, turn })))
          return turns.sort((one, other) => one.turn - other.turn).slice(0, limit).map(({ row }) => {
            connections.set(row.connection.key.path, { ...row, renewAt: now + Duration.toMillis(lease) })
            return { connection: row.connection, told: row.endingTold }
          })
        }),

      nextDue: atomically((now) => {
        const [first] = planned()
        return first === undefined
          ? Option.none()
          : Option.some(Duration.millis(Math.max(0, Math.ceil(first.renewAt - now))))
      }),

      plan: (plans) =>
        atomically((now) =>
          plans.filter(({ after, epoch, generation, key, told }) => {
            const row = connections.get(key.path)
            if (row === undefined || row.connection.epoch !== epoch || row.connection.generation !== generation) {
              return false
            }
            const renewAt = after === undefined ? undefined : now + Duration.toMillis(after)
            connections.set(key.path, { ...row, renewAt, endingTold: told ?? row.endingTold })
            return true
          }).length
        )
    })
  })
)

const isPlanned = (row: ConnectionRow): row is ConnectionRow & { readonly renewAt: number } =>
  row.connection.status._tag === "active" && row.renewAt !== undefined

const tenantOf = ({ connection }: ConnectionRow): string => connection.key.tenant
