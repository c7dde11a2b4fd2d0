import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { RevocationError } from "@valetkey/domain/AuthorizationServer"
import { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { Spool } from "@valetkey/domain/Spool"
import { StoreError } from "@valetkey/domain/StoreError"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Tenants } from "@valetkey/domain/Tenants"
import { TenantStore } from "@valetkey/domain/TenantStore"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { DateTime, Effect, Exit, Fiber, Latch, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, connect, keyOf, layer as world, Provider, response, Vault } from "./World.ts"

const layer = Layer.provideMerge(Tenants.layer(), world)
const [acme, other] = [TenantId.make("acme"), TenantId.make("other")]

const stateOf = (tenant: TenantId) =>
  Effect.flatMap(Tenants, (tenants) => Effect.map(tenants.status(tenant), ({ state }) => state))

/** A round of everything that happens by itself; returns how many tenants are gone by it. */
const round = Effect.gen(function*() {
  const before = yield* (yield* Tenants).proceed
  yield* (yield* Housekeeping).revoke
  return before + (yield* (yield* Tenants).proceed)
})

/** How many rows of each kind the store holds for a tenant. */
const rowsOf = (tenant: TenantId) =>
  Effect.map(MemoryWorld, (world) => ({
    apiKeys: [...world.apiKeys.values()].filter(({ key }) => key.tenant === tenant).length,
    connections: [...world.connections.values()].filter(({ connection }) => connection.key.tenant === tenant).length,
    flows: [...world.flows.values()].filter(({ flow }) => flow.key.tenant === tenant).length,
    outbox: [...world.outbox.values()].filter(({ revocation }) => revocation.key.tenant === tenant).length,
    receipts: [...world.receipts.values()].filter(({ key }) => key.tenant === tenant).length,
    registrations: [...world.registrations.keys()].filter((path) => path.startsWith(`${tenant}/`)).length,
    servers: [...world.servers.values()].filter((server) => server.tenant === tenant).length
  }))

const nothing = { apiKeys: 0, connections: 0, flows: 0, outbox: 0, receipts: 0, registrations: 0, servers: 0 }

describe("Tenants", () => {
  it.effect("LIFE-02 removes what a tenant has when its tokens are revoked, and leaves the others what they have", () =>
    Effect.gen(function*() {
      const [tenants, provider, tokens] = [yield* Tenants, yield* Provider, yield* AccessTokens]
      const mine = yield* keyOf("mcp")
      yield* connect(mine)
      const issued = [...provider.issued]
      const theirs = yield* keyOf("mcp", { tenant: "other" })
      yield* connect(theirs)
      const open = yield* begin("second")
      const closed = yield* Latch.make()
      ;(yield* Browser).onClose = closed.open
      yield* tenants.admitted(acme)
      const theirRows = yield* rowsOf(other)

      const deleting = yield* tenants.remove(acme)
      assert.deepStrictEqual([deleting.state, deleting.connections, deleting.revocations], ["deleting", 1, 0])
      assert.strictEqual((yield* Effect.flip(tenants.admitted(acme))).code, "tenant_deleted")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(tokens.get(mine))))
      assert.strictEqual((yield* (yield* Flows).status(open.owner)).state, "cancelled")
      yield* closed.await
      assert.isFalse((yield* Browser).open.has(open.flow.id))

      assert.strictEqual(yield* tenants.proceed, 0)
      assert.deepStrictEqual((yield* tenants.status(acme)).revocations, 1)
      assert.strictEqual(yield* (yield* Housekeeping).revoke, 1)
      assert.strictEqual(yield* tenants.proceed, 1)
      assert.includeMembers(provider.revoked, issued)
      assert.strictEqual(yield* stateOf(acme), "deleted")
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)

      yield* tenants.admitted(other)
      assert.deepStrictEqual(yield* rowsOf(other), theirRows)
      assert.include(provider.issued, Redacted.value((yield* tokens.get(theirs)).accessToken))
      assert.notInclude(provider.revoked, provider.issued.at(-1))
    }).pipe(Effect.provide(layer)))

  for (const point of ["tenant.marked", "tenant.owed", "tenant.erasing"] as const) {
    it.effect(`LIFE-02 goes on where a process died at ${point}`, () =>
      Effect.gen(function*() {
        const [tenants, provider, points] = [yield* Tenants, yield* Provider, yield* InjectionPoints]
        const connections = yield* ConnectionStore
        const key = yield* keyOf("mcp")
        yield* connect(key)
        const issued = [...provider.issued]
        // More than one step removes; what the provider never confirms is given up.
        const now = yield* DateTime.now
        for (let n = 0; n < 1200; n++) {
          const many = new ConnectionKey({ ...key, subject: SubjectId.make(`s${n}`), server: ServerSlug.make("mcp") })
          const { grant } = Option.getOrThrow(yield* connections.get(key))
          yield* connections.deposit(many, {
            epoch: Epoch.make(`e${n}`),
            previous: 0,
            grant,
            credentials: { accessToken: Sealed.make(new Uint8Array([n])), tokenType: "Bearer", issuedAt: now }
          })
        }
        yield* points.die(point, { times: 1 })
        const died = yield* Effect.exit(Effect.gen(function*() {
          yield* tenants.remove(acme)
          yield* round
          yield* TestClock.adjust("61 minutes")
          yield* round
        }))
        assert.isTrue(Exit.hasDies(died), "the point was not reached")
        assert.strictEqual(yield* stateOf(acme), "deleting")
        assert.strictEqual((yield* Effect.flip(tenants.admitted(acme))).code, "tenant_deleted")

        yield* Effect.repeat(
          Effect.gen(function*() {
            yield* round
            yield* TestClock.adjust("61 minutes")
          }),
          { until: () => Effect.map(stateOf(acme), (state) => state === "deleted"), times: 30 }
        )
        assert.strictEqual(yield* stateOf(acme), "deleted")
        assert.deepStrictEqual(yield* rowsOf(acme), nothing)
        assert.includeMembers(provider.revoked, issued)
      }).pipe(Effect.provide(layer)))
  }

  it.effect("LIFE-02 a refresh that ends late brings nothing back, and its tokens are revoked as well", () =>
    Effect.gen(function*() {
      const [tenants, provider, points] = [yield* Tenants, yield* Provider, yield* InjectionPoints]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.response_received", { times: 1 })
      const late = yield* Effect.forkChild(Effect.exit((yield* AccessTokens).get(key)))
      yield* points.awaitReached("refresh.response_received")
      yield* tenants.remove(acme)
      yield* round
      assert.strictEqual(yield* stateOf(acme), "deleting")
      yield* points.release("refresh.response_received")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(late)))
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* round, 1)
      assert.lengthOf(provider.issued, 2)
      assert.includeMembers(provider.revoked, provider.issued)
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 a flow that ends late brings nothing back, and its tokens are revoked as well", () =>
    Effect.gen(function*() {
      const [tenants, provider, points] = [yield* Tenants, yield* Provider, yield* InjectionPoints]
      const { authorizationUrl, flow } = yield* begin("mcp")
      yield* points.pause("flow.tokens_received", { times: 1 })
      yield* comeBack(flow.id, response(authorizationUrl))
      yield* points.awaitReached("flow.tokens_received")
      yield* tenants.remove(acme)
      yield* round
      assert.strictEqual(yield* stateOf(acme), "deleting")
      yield* points.release("flow.tokens_received")
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* round, 1)
      assert.lengthOf(provider.issued, 1)
      assert.includeMembers(provider.revoked, provider.issued)
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 what a replica kept in its spool is dropped when it comes back after the tenant is gone", () =>
    Effect.gen(function*() {
      const [tenants, spool] = [yield* Tenants, yield* Spool]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const { credentials, epoch, generation, grant } = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      yield* tenants.remove(acme)
      yield* round
      assert.strictEqual(yield* stateOf(acme), "deleted")
      yield* spool.append({ id: "kept", key, epoch, redeemed: generation, credentials, grant })
      assert.strictEqual(yield* (yield* Housekeeping).replay, 0)
      assert.deepStrictEqual(yield* spool.list, [])
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 a connection that cannot be read keeps neither the others nor the deletion", () =>
    Effect.gen(function*() {
      const [tenants, provider, connections] = [yield* Tenants, yield* Provider, yield* ConnectionStore]
      const [broken, whole] = [yield* keyOf("mcp"), yield* keyOf("second")]
      yield* connect(broken)
      const lost = [...provider.issued]
      yield* connect(whole)
      const { disconnect } = connections
      const corrupt = Effect.fail(new StoreError({ code: "store_corrupt", operation: "test" }))
      Object.assign(connections, {
        disconnect: ((key, epoch) =>
          key.path === broken.path ? corrupt : disconnect(key, epoch)) satisfies typeof disconnect
      })
      yield* tenants.remove(acme)
      assert.strictEqual(yield* round, 0)
      assert.includeMembers(provider.revoked, provider.issued.filter((token) => !lost.includes(token)))
      assert.strictEqual((yield* tenants.status(acme)).connections, 1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* round, 1)
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 has a mark finished before it ends the first connection", () =>
    Effect.gen(function*() {
      const [tenants, store, connections] = [yield* Tenants, yield* TenantStore, yield* ConnectionStore]
      yield* connect(yield* keyOf("mcp"))
      yield* tenants.remove(acme)
      const [{ begin }, { disconnect }] = [store, connections]
      const steps = new Array<string>()
      Object.assign(store, {
        begin: (tenant: TenantId) => Effect.suspend(() => (steps.push("begin"), begin(tenant)))
      })
      Object.assign(connections, {
        disconnect: ((key, epoch) =>
          Effect.suspend(() => (steps.push("disconnect"), disconnect(key, epoch)))) satisfies typeof disconnect
      })
      yield* round
      assert.deepStrictEqual(steps, ["begin", "disconnect"])
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 drops what a spool holds of a former tenant, also when the name is allowed again", () =>
    Effect.gen(function*() {
      const [tenants, points, spool] = [yield* Tenants, yield* InjectionPoints, yield* Spool]
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* TestClock.adjust("2 hours")
      yield* points.pause("refresh.before_commit", { times: 1 })
      const late = yield* Effect.forkChild(Effect.exit((yield* AccessTokens).get(key)))
      yield* points.awaitReached("refresh.before_commit")
      yield* tenants.remove(acme)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* round, 1)
      yield* tenants.allow(acme)
      assert.lengthOf(yield* spool.list, 1)
      assert.strictEqual(yield* (yield* Housekeeping).replay, 0)
      assert.deepStrictEqual(yield* spool.list, [])
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
      yield* points.release("refresh.before_commit")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(late)))
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 waits for revocations as long as its patience, and works without a key", () =>
    Effect.gen(function*() {
      const [tenants, provider, vault] = [yield* Tenants, yield* Provider, yield* Vault]
      yield* connect(yield* keyOf("mcp"))
      vault.locked = true
      yield* tenants.remove(acme)
      yield* round
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(yield* round, 0)
      vault.locked = false
      provider.revocation = Effect.fail(new RevocationError({ code: "revocation_unavailable" }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* round, 1)
      assert.deepStrictEqual(provider.revoked, [])
      assert.deepStrictEqual(yield* rowsOf(acme), nothing)
    }).pipe(Effect.provide(layer)))

  it.effect("LIFE-02 refuses the name until it is allowed, and not before the tenant is gone", () =>
    Effect.gen(function*() {
      const tenants = yield* Tenants
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* tenants.remove(acme)
      assert.strictEqual((yield* Effect.flip(tenants.allow(acme))).code, "tenant_deleting")
      yield* round
      assert.strictEqual((yield* Effect.flip(keyOf("mcp"))).code, "tenant_deleted")
      assert.strictEqual((yield* tenants.remove(acme)).state, "deleted")
      yield* tenants.allow(acme)
      assert.strictEqual(yield* stateOf(acme), "active")
      yield* connect(yield* keyOf("mcp"))
      assert.isDefined((yield* (yield* AccessTokens).get(key)).accessToken)
    }).pipe(Effect.provide(layer)))
})
