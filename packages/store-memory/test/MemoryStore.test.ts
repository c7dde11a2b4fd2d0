import type { TenantId } from "@valetkey/domain/Tenant"
import * as StoreContract from "@valetkey/testing/StoreContract"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryStore from "../src/MemoryStore.ts"
import { MemoryWorld } from "../src/MemoryWorld.ts"

const auditTrail = (tenant: TenantId) =>
  Effect.map(
    MemoryWorld,
    ({ audit }) => audit.filter((event) => event.tenant === tenant).map(({ at: _, ...event }) => event)
  )

StoreContract.suite("memory", MemoryStore.layer, { advance: TestClock.adjust, auditTrail, histories: 300 })
