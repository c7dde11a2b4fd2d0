import type { AuditEntry } from "@valetkey/domain/AuditEvent"
import * as StoreContract from "@valetkey/testing/StoreContract"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryStore from "../src/MemoryStore.ts"
import { MemoryWorld } from "../src/MemoryWorld.ts"

const tamper: StoreContract.ContractOptions<MemoryWorld>["tamper"] = (tenant, how) =>
  Effect.map(MemoryWorld, ({ audit }) => {
    const at = (seq: number) => audit.findIndex((entry) => entry.tenant === tenant && entry.seq === seq)
    const change = (index: number, by: Partial<AuditEntry>) => audit.splice(index, 1, { ...audit[index]!, ...by })
    switch (how) {
      case "edit":
        return void change(at(2), { outcome: "other" })
      case "delete":
        return void audit.splice(at(2), 1)
      case "reorder": {
        const [second, third] = [at(2), at(3)]
        change(second, { seq: 3 })
        return void change(third, { seq: 2 })
      }
      case "cut":
        return void audit.splice(at(4), 1)
    }
  })

StoreContract.suite("memory", MemoryStore.layer, { advance: TestClock.adjust, tamper, histories: 300 })
