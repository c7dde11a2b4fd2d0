import { AuditLog } from "@valetkey/domain/AuditLog"
import { Effect, Layer } from "effect"
import { atomically } from "./internal/atomically.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `AuditLog` over the shared state; read the events in `MemoryWorld.audit`. */
export const layer: Layer.Layer<AuditLog, never, MemoryWorld> = Layer.effect(
  AuditLog,
  Effect.map(MemoryWorld, ({ audit }) =>
    AuditLog.of({
      append: (event) => atomically((now) => void audit.push({ ...event, at: now }))
    }))
)
