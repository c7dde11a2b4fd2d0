import type { TenantId } from "@valetkey/domain/Tenant"
import * as ConnectionStoreContract from "@valetkey/testing/ConnectionStoreContract"
import * as FlowStoreContract from "@valetkey/testing/FlowStoreContract"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryStore from "../src/MemoryStore.ts"
import { MemoryWorld } from "../src/MemoryWorld.ts"

const options = {
  advance: TestClock.adjust,
  auditTrail: (tenant: TenantId) =>
    Effect.map(
      MemoryWorld,
      ({ audit }) => audit.filter((event) => event.tenant === tenant).map(({ at: _, ...event }) => event)
    )
}
FlowStoreContract.suite("memory", MemoryStore.layer, options)
ConnectionStoreContract.suite("memory", MemoryStore.layer, options)
