import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import { RevocationError } from "@valetkey/domain/AuthorizationServer"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Instance } from "@valetkey/domain/Instance"
import { InstanceStore } from "@valetkey/domain/InstanceStore"
import { outcomeOf, type RevocationProgress } from "@valetkey/domain/RevocationReceipt"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Revocations } from "@valetkey/domain/Revocations"
import { Context, Deferred, Duration, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer as world, Provider, Vault } from "./World.ts"

const layer = Layer.provideMerge(Revocations.layer, world)

const latest = Effect.fnUntraced(function*({ server, subject, tenant }: ConnectionKey) {
  const found = yield* (yield* Revocations).list({ tenant, subject, server, after: undefined, limit: 1 })
  return found[0] ?? (yield* Effect.die("no receipt"))
})

const disconnected = Effect.fnUntraced(function*(slug: string) {
  const key = yield* keyOf(slug)
  yield* connect(key)
  yield* (yield* Connections).disconnect(key)
  return key
})

const refusal = new RevocationError({ code: "revocation_refused" })

describe("a receipt", () => {
  it.effect("tells of each kind of token what the server said, and no more", () =>
    Effect.gen(function*() {
      const [provider, { revoke }] = [yield* Provider, yield* Housekeeping]
      const cases = [
        [["confirmed", "confirmed"], "confirmed"],
        [["confirmed", "unsupported"], "partial"],
        [["unsupported", "unsupported"], "unsupported"]
      ] as const
      for (const [index, [answers, outcome]] of cases.entries()) {
        const key = yield* disconnected(`mcp-${index}`)
        const pending = yield* latest(key)
        assert.strictEqual(outcomeOf(pending), "pending")
        const left = [...answers]
        provider.revocation = Effect.sync(() => left.shift()!)
        yield* revoke
        const { accessToken, accessTokenExpiresAt, attempts, id, refreshToken, settledAt } = yield* latest(key)
        assert.strictEqual(`${refreshToken} ${accessToken}`, answers.join(" "))
        assert.strictEqual(id, pending.id)
        assert.strictEqual(attempts, 1)
        assert.isDefined(settledAt)
        assert.deepStrictEqual(accessTokenExpiresAt, pending.accessTokenExpiresAt)
        assert.isDefined(accessTokenExpiresAt)
        const events = yield* (yield* Audit).list({ tenant: key.tenant, after: 0, limit: 100 })
        assert.strictEqual(events.findLast((event) => event.action === "connection.revoked")?.outcome, outcome)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("tells how an attempt failed and when the next one is, and at last that it was given up", () =>
    Effect.gen(function*() {
      const [provider, { revoke }, vault] = [yield* Provider, yield* Housekeeping, yield* Vault]
      const key = yield* disconnected("mcp")
      const { createdAt } = yield* latest(key)
      const next = Effect.map(latest(key), ({ nextAttemptAt }) => nextAttemptAt!.epochMilliseconds)
      vault.locked = true
      yield* revoke
      assert.deepInclude(yield* latest(key), { error: "encryption_key_missing", attempts: 1 })
      assert.strictEqual(yield* next, createdAt.epochMilliseconds + 2000)
      vault.locked = false
      provider.revocation = Effect.fail(
        new RevocationError({ code: "revocation_unavailable", retryAfter: Duration.minutes(7) })
      )
      yield* TestClock.adjust("2 seconds")
      yield* revoke
      assert.deepInclude(yield* latest(key), { error: "revocation_unavailable", attempts: 2, refreshToken: "pending" })
      assert.strictEqual(yield* next, createdAt.epochMilliseconds + 2000 + 7 * 60_000)
      provider.revocation = Effect.fail(refusal)
      yield* Effect.repeat(Effect.andThen(TestClock.adjust("1 hour"), revoke), { times: 30 })
      const last = yield* latest(key)
      assert.deepInclude(last, {
        error: "revocation_refused",
        attempts: 30,
        accessToken: "given_up",
        refreshToken: "given_up"
      })
      assert.isUndefined(last.nextAttemptAt)
      assert.isDefined(last.settledAt)
    }).pipe(Effect.provide(layer)))

  it.effect("needs neither key nor server for a grant without revocation endpoint", () =>
    Effect.gen(function*() {
      const [provider, { revoke }, vault, store] = [
        yield* Provider,
        yield* Housekeeping,
        yield* Vault,
        yield* ConnectionStore
      ]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const { get } = store
      // The deposit of a connection whose metadata named no revocation endpoint.
      const found = yield* get(key)
      if (found._tag === "None") return assert.fail("not connected")
      const { credentials, grant: { revocationEndpoint: _, ...grant }, generation, epoch } = found.value
      yield* store.deposit(key, { epoch, previous: generation, grant, credentials })
      yield* (yield* Connections).disconnect(key)
      vault.locked = true
      provider.revocation = Effect.die("asked")
      yield* revoke
      assert.deepInclude(yield* latest(key), { accessToken: "unsupported", refreshToken: "unsupported", attempts: 1 })
    }).pipe(Effect.provide(layer)))

  it("puts the outcome of all tokens no better than that of any of them", () => {
    const cases: ReadonlyArray<readonly [RevocationProgress, string]> = [
      [{}, "confirmed"],
      [{ refreshToken: "confirmed" }, "confirmed"],
      [{ refreshToken: "confirmed", accessToken: "pending" }, "pending"],
      [{ refreshToken: "given_up", accessToken: "pending" }, "pending"],
      [{ refreshToken: "confirmed", accessToken: "given_up" }, "given_up"],
      [{ refreshToken: "unsupported", accessToken: "given_up" }, "given_up"],
      [{ refreshToken: "unsupported", accessToken: "confirmed" }, "partial"],
      [{ accessToken: "unsupported" }, "unsupported"]
    ]
    for (const [progress, outcome] of cases) assert.strictEqual(outcomeOf(progress), outcome)
  })
})

describe("Revocations.wait", () => {
  it.effect("waits for the end and is woken by it; a time that is over gives what is known", () =>
    Effect.gen(function*() {
      const [provider, { revoke }, revocations] = [yield* Provider, yield* Housekeeping, yield* Revocations]
      const key = yield* disconnected("mcp")
      const { id } = yield* latest(key)
      const owner = { tenant: key.tenant, subject: key.subject, id }
      const answered = Deferred.makeUnsafe<void>()
      provider.revocation = Effect.as(Deferred.await(answered), "confirmed")
      const early = yield* Effect.forkChild(revocations.wait(owner, "5 seconds"))
      const waiter = yield* Effect.forkChild(revocations.wait(owner, "60 seconds"))
      const round = yield* Effect.forkChild(revoke)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(outcomeOf(yield* Fiber.join(early)), "pending")
      yield* Deferred.succeed(answered, undefined)
      yield* Fiber.join(round)
      assert.strictEqual(outcomeOf(yield* Fiber.join(waiter)), "confirmed")
      assert.strictEqual((yield* revocations.wait(owner, "60 seconds")).id, id)
      const foreign = yield* Effect.flip(
        revocations.wait({ ...owner, subject: (yield* keyOf("x", { subject: "eve" })).subject }, "60 seconds")
      )
      assert.strictEqual(foreign.code, "revocation_not_found")
    }).pipe(Effect.provide(layer)))
})

describe("Revocations.layerRetention", () => {
  const settle = Effect.gen(function*() {
    const key = yield* disconnected("mcp")
    yield* (yield* Housekeeping).revoke
    return Effect.map(
      Effect.flatMap(
        RevocationReceipts,
        (receipts) =>
          receipts.list({ tenant: key.tenant, subject: key.subject, server: undefined, after: undefined, limit: 9 })
      ),
      (all) => all.length
    )
  })
  const retention = Revocations.layerRetention({ retention: Duration.days(2) })

  it.effect("forgets receipts when their time is over", () =>
    Effect.scoped(Effect.gen(function*() {
      const count = yield* settle
      yield* Layer.build(retention)
      yield* TestClock.adjust("47 hours")
      assert.strictEqual(yield* count, 1)
      yield* TestClock.adjust("3 hours")
      assert.strictEqual(yield* count, 0)
    })).pipe(Effect.provide(layer)))

  it.effect("leaves the store of another instance alone until it is taken over", () =>
    Effect.scoped(Effect.gen(function*() {
      const count = yield* settle
      yield* (yield* InstanceStore).claim("original")
      const context = yield* Layer.build(Layer.provideMerge(retention, Instance.layer({ id: "copy" })))
      yield* TestClock.adjust("5 days")
      assert.strictEqual(yield* count, 1)
      yield* Context.get(context, Instance).takeOver
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* count, 0)
    })).pipe(Effect.provide(layer)))
})
