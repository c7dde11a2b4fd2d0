import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { Flows } from "@valetkey/domain/Flows"
import { Instance } from "@valetkey/domain/Instance"
import { InstanceStore } from "@valetkey/domain/InstanceStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { TenantId } from "@valetkey/domain/Tenant"
import { Context, Duration, Effect, Layer } from "effect"
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

  it.effect("LIFE-10 leaves no chain shorter than it says when a page fails after another", () =>
    Effect.scoped(Effect.gen(function*() {
      yield* connect(yield* keyOf("mcp"))
      const log = yield* AuditLog
      const { prune } = log
      let pages = 0
      Object.assign(log, {
        prune: (input: Parameters<typeof prune>[0]) =>
          ++pages === 2
            ? Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))
            : prune({ ...input, limit: 1 })
      })
      yield* TestClock.adjust("8 days")
      // Not even an hour passes: nothing is tried again.
      yield* Layer.build(Audit.layerRetention({ retention: Duration.days(7) }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(pages, 2)
      assert.deepStrictEqual(
        (yield* events).map(({ action, count, seq }) => [seq, action, count]),
        [[2, "flow.settled", undefined], [3, "audit.pruned", 1]]
      )
    })).pipe(Effect.provide(layer)))

  it.effect("leaves the chains of another instance's store alone until it is taken over", () =>
    Effect.scoped(Effect.gen(function*() {
      yield* connect(yield* keyOf("mcp"))
      yield* (yield* InstanceStore).claim("original")
      const retention = Audit.layerRetention({ retention: Duration.days(7) })
      const context = yield* Layer.build(Layer.provideMerge(retention, Instance.layer({ id: "copy", every: "1 hour" })))
      yield* TestClock.adjust("9 days")
      assert.deepStrictEqual((yield* events).map(({ action }) => action), ["flow.started", "flow.settled"])
      yield* Context.get(context, Instance).takeOver
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual((yield* events).map(({ action }) => action), ["audit.pruned"])
    })).pipe(Effect.provide(layer)))
})
