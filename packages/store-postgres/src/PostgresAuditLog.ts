import { AuditLog } from "@valetkey/domain/AuditLog"
import { Effect, Layer } from "effect"
import { Database } from "./Database.ts"

/** Layer of `AuditLog` on the table `audit`. */
export const layer: Layer.Layer<AuditLog, never, Database> = Layer.effect(
  AuditLog,
  Effect.map(Database, (database) =>
    AuditLog.of({
      append: (event) =>
        database.write("AuditLog.append", (sql) =>
          Effect.asVoid(sql`INSERT INTO audit (tenant, at, subject, server, action, outcome, generation)
            VALUES (${event.tenant}, clock_timestamp(), ${event.subject}, ${event.server}, ${event.action},
              ${event.outcome}, ${event.generation ?? null})`))
    }))
)
