import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Audit } from "@valetkey/domain/Audit"
import * as AuditChain from "@valetkey/domain/AuditChain"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { classOf, CurrentOrigin } from "@valetkey/domain/AuditOrigin"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { Connections } from "@valetkey/domain/Connections"
import { Entropy } from "@valetkey/domain/Entropy"
import { Flows } from "@valetkey/domain/Flows"
import { StoreError } from "@valetkey/domain/StoreError"
import { TenantId } from "@valetkey/domain/Tenant"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider } from "./World.ts"

const tenant = TenantId.make("acme")
const events = Effect.flatMap(Audit, (audit) => audit.list({ tenant, after: 0, limit: 100 }))

describe("AuditTrail", () => {
  it.effect("LEAK-12 tells who used which secret, when and from where, and never the secret", () =>
    Effect.gen(function*() {
      const [tokens, connections] = [yield* AccessTokens, yield* Connections]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* TestClock.adjust("2 hours")
      const token = yield* tokens.get(key).pipe(
        Effect.provideService(CurrentOrigin, { principal: "jwt", from: "global" })
      )
      yield* connections.disconnect(key)
      yield* (yield* AuditTrail).flush
      const found = yield* events
      assert.deepStrictEqual(
        found.map((one) => [one.action, one.principal, one.from, one.generation, one.fingerprint !== undefined]),
        [
          ["flow.started", "system", "process", undefined, false],
          ["flow.settled", "system", "process", 1, true],
          ["token.refreshed", "jwt", "global", 2, true],
          ["connection.disconnected", "system", "process", undefined, false],
          ["token.read", "jwt", "global", 2, true]
        ]
      )
      assert.isTrue(found.every(({ server, subject }) => server === "mcp" && subject === "ada"))
      const text = JSON.stringify(found)
      for (const secret of [...(yield* Provider).issued, Redacted.value(token.accessToken)]) {
        assert.notInclude(text, secret)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("LEAK-12 tells how every flow ended, also one that was cancelled or superseded", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const key = yield* keyOf("mcp")
      yield* flows.start(key)
      const second = yield* flows.start(key, { onConflict: "supersede" })
      if (second._tag !== "Started") return assert.fail(second._tag)
      const { id } = second.flow
      yield* flows.cancel({ id, tenant: key.tenant, subject: key.subject })
      yield* flows.cancel({ id, tenant: key.tenant, subject: key.subject })
      const settled = (yield* events).filter(({ action }) => action === "flow.settled")
      assert.deepStrictEqual(settled.map(({ outcome }) => outcome), ["superseded", "cancelled"])
    }).pipe(Effect.provide(layer)))

  it.effect("LEAK-12 counts every token that is handed out and writes once in a window", () =>
    Effect.gen(function*() {
      const tokens = yield* AccessTokens
      const log = yield* AuditLog
      const key = yield* keyOf("mcp")
      yield* connect(key)
      let writes = 0
      const { append } = log
      Object.assign(log, { append: (input: Parameters<typeof append>[0]) => (writes++, append(input)) })
      yield* Effect.forEach(Array.from({ length: 1000 }), () => tokens.get(key), { discard: true })
      yield* tokens.get(key).pipe(Effect.provideService(CurrentOrigin, { principal: "api_key", from: "private" }))
      assert.strictEqual(writes, 0)
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual(writes, 1)
      const reads = (yield* events).filter(({ action }) => action === "token.read")
      assert.deepStrictEqual(reads.map(({ count, principal }) => [principal, count]), [["system", 1000], [
        "api_key",
        1
      ]])
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(writes, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("LEAK-12 fails nothing while the log is away, and writes what it kept when it is back", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = yield* keyOf("mcp")
      const { append } = log
      Object.assign(log, {
        append: () => Effect.fail(new StoreError({ code: "store_unavailable", operation: "append" }))
      })
      yield* connect(key)
      Object.assign(log, { append })
      assert.deepStrictEqual(yield* events, [])
      yield* TestClock.adjust("31 seconds")
      assert.deepStrictEqual((yield* events).map(({ action }) => action), ["flow.started", "flow.settled"])
    }).pipe(Effect.provide(layer)))
})

describe("Audit.verify", () => {
  it.effect("LIFE-10 finds a chain whole, and one that was rewritten from an event on by the end that was kept", () =>
    Effect.gen(function*() {
      const [audit, world, { digestOf }] = [yield* Audit, yield* MemoryWorld, yield* Entropy]
      const key = yield* keyOf("mcp")
      for (let round = 0; round < 3; round++) yield* connect(key)
      const before = yield* audit.verify(tenant)
      assert.deepInclude(before, { events: 6, fault: undefined })
      const pin = { seq: before.head.seq, hash: before.head.hash }
      // Whoever can write the store can also compute hashes: the chain alone is consistent again afterwards.
      const kept = world.audit.splice(3).map(({ hash: _, previous: __, seq: ___, at: ____, ...event }) => event)
      const forged = AuditChain.link(
        digestOf,
        world.audit.at(-1)!,
        kept.map((event) => ({ ...event, outcome: "forged" })),
        0
      )
      world.audit.push(...forged)
      world.auditHeads.set(tenant, { ...before.head, seq: 6, hash: forged.at(-1)!.hash })
      assert.isUndefined((yield* audit.verify(tenant)).fault)
      assert.deepStrictEqual((yield* audit.verify(tenant, pin)).fault, { kind: "altered", seq: 6 })
      world.audit.splice(0)
      world.auditHeads.clear()
      assert.isUndefined((yield* audit.verify(tenant)).fault)
      assert.deepStrictEqual((yield* audit.verify(tenant, pin)).fault, { kind: "missing", seq: 1 })
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-10 says where an edited, a missing and a cut event should be", () =>
    Effect.gen(function*() {
      const [audit, world] = [yield* Audit, yield* MemoryWorld]
      const key = yield* keyOf("mcp")
      for (let round = 0; round < 3; round++) yield* connect(key)
      const whole = [...world.audit]
      const fault = (change: () => void) =>
        Effect.suspend(() => {
          world.audit.splice(0, Infinity, ...whole)
          change()
          return Effect.map(audit.verify(tenant), ({ fault }) => fault)
        })
      assert.deepStrictEqual(
        yield* fault(() => world.audit[1] = { ...whole[1]!, at: whole[0]!.at, outcome: "ok" }),
        { kind: "altered", seq: 2 }
      )
      assert.deepStrictEqual(yield* fault(() => void world.audit.splice(2, 1)), { kind: "missing", seq: 3 })
      assert.deepStrictEqual(yield* fault(() => void world.audit.splice(5)), { kind: "missing", seq: 6 })
      assert.isUndefined(yield* fault(() => {}))
    }).pipe(Effect.provide(layer)))
})

describe("the class of an address", () => {
  it("says what kind of place a peer is, and not which", () => {
    const classes = {
      "": "socket",
      "127.0.0.1": "loopback",
      "::1": "loopback",
      "::ffff:10.1.2.3": "private",
      "172.20.0.1": "private",
      "100.64.0.1": "private",
      "fe80::1": "private",
      "fd00::1": "private",
      "8.8.8.8": "global",
      "2001:db8::1": "global"
    }
    for (const [address, expected] of Object.entries(classes)) assert.strictEqual(classOf(address), expected, address)
    assert.strictEqual(classOf(undefined), "socket")
  })
})
