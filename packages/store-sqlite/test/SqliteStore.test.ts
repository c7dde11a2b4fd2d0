import type { AuditEvent } from "@valetkey/domain/AuditLog"
import type { TenantId } from "@valetkey/domain/Tenant"
import * as StoreContract from "@valetkey/testing/StoreContract"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const auditTrail = (tenant: TenantId) =>
  Effect.flatMap(
    SqliteDatabase,
    (database) =>
      database.read("audit", (session) =>
        session.all<Omit<AuditEvent, "generation"> & { readonly generation: number | null }>(
          "SELECT tenant, subject, server, action, outcome, generation FROM audit WHERE tenant = ? ORDER BY seq",
          tenant
        ).map(({ generation, ...event }): AuditEvent =>
          generation === null ? { ...event } : { ...event, generation }
        ))
  )

const path = join(mkdtempSync(join(tmpdir(), "valetkey-sqlite-")), "store.db")
StoreContract.suite("SQLite file", SqliteStore.layer({ path }), { advance: TestClock.adjust, auditTrail })
StoreContract.suite("SQLite in memory", SqliteStore.layer({ path: ":memory:" }), {
  advance: TestClock.adjust,
  auditTrail,
  histories: 300
})
