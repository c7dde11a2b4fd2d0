import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import { Flows } from "@valetkey/domain/Flows"
import { TenantId } from "@valetkey/domain/Tenant"
import { Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer } from "./World.ts"

const tenant = TenantId.make("acme")
const events = Effect.flatMap(Audit, (audit) => audit.list({ tenant, after: 0, limit: 100 }))

describe("Audit.layerRetention", () => {
  it.effect("LIFE-10 removes what is old, says in the chain how much it removed, and leaves a chain that verifies", () =>
    Effect.scoped(Effect.gen(function*() {
      yield* connect(yield* keyOf("mcp"))
      yield* Layer.build(Audit.layerRetention({ retention: Duration.days(7) }))
      yield* TestClock.adjust("6 days")
      assert.deepStrictEqual((yield* events).map(({ action }) => action), ["flow.started", "flow.settled"])
      yield* (yield* Flows).start(yield* keyOf("other"))
      yield* TestClock.adjust("26 hours")
      const left = yield* events
      assert.deepStrictEqual(
        left.map(({ action, count, principal, seq, subject }) => [seq, action, count, principal, subject]),
        [
          [3, "flow.started", undefined, "system", "ada"],
          [4, "audit.pruned", 2, "system", "system"]
        ]
      )
      const verdict = yield* (yield* Audit).verify(tenant)
      assert.isUndefined(verdict.fault)
      assert.deepStrictEqual([verdict.events, verdict.head.anchor.seq], [2, 2])
      // An event about nothing but itself would go on for ever.
      yield* TestClock.adjust("3 hours")
      assert.strictEqual((yield* events).length, 2)
    })).pipe(Effect.provide(layer)))
})
