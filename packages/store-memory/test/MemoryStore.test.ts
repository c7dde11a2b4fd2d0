import * as FlowStoreContract from "@valetkey/testing/FlowStoreContract"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryStore from "../src/MemoryStore.ts"
import { MemoryWorld } from "../src/MemoryWorld.ts"

FlowStoreContract.suite("memory", MemoryStore.layer, {
  advance: TestClock.adjust,
  auditTrail: (tenant) =>
    Effect.map(
      MemoryWorld,
      ({ audit }) => audit.filter((event) => event.tenant === tenant).map(({ at: _, ...event }) => event)
    )
})
