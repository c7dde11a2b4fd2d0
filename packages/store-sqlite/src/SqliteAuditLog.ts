import { AuditLog } from "@valetkey/domain/AuditLog"
import { Effect, Layer } from "effect"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `AuditLog` over the database. */
export const layer: Layer.Layer<AuditLog, never, SqliteDatabase> = Layer.effect(
  AuditLog,
  Effect.map(SqliteDatabase, (database) =>
    AuditLog.of({
      append: (event) =>
        database.write("append", (session, now) => {
          session.run(
            `INSERT INTO audit (tenant, at, subject, server, action, outcome, generation) VALUES (?, ?, ?, ?, ?, ?, ?)`,
            event.tenant,
            now,
            event.subject,
            event.server,
            event.action,
            event.outcome,
            event.generation ?? null
          )
        })
    }))
)
