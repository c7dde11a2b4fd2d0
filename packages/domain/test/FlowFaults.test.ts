import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { connectionTopic, flowTopic, Signals } from "@valetkey/domain/Signals"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Deferred, Effect, Fiber, Latch, Option } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, connect, keyOf, layer, Provider, refuse, response, returnTo } from "./World.ts"

/** Fails the first calls of a method with an outage, after or instead of what it does. */
const failing = <Args extends ReadonlyArray<unknown>, A, E>(
  method: (...args: Args) => Effect.Effect<A, E>,
  times: number,
  lost: "answer" | "call" = "call"
) =>
(...args: Args) =>
  Effect.suspend((): Effect.Effect<A, E | StoreError> => {
    if (times-- <= 0) return method(...args)
    return lost === "answer" ? Effect.andThen(method(...args), Effect.fail(outage)) : Effect.fail(outage)
  })

const outage = new StoreError({ code: "store_unavailable", operation: "test" })

describe("a start whose slot is taken but not given", () => {
  it.effect("frees the slot when the caller goes away in that moment", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const store = yield* FlowStore
      const { reserve } = store
      const [taken, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      Object.assign(store, {
        reserve: (...input: Parameters<typeof reserve>) =>
          Effect.tap(reserve(...input), () => Effect.andThen(taken.open, Deferred.await(gate)))
      })
      const gone = yield* Effect.forkChild(flows.start(key))
      yield* taken.await
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(gone), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(interrupting)
      Object.assign(store, { reserve })
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("frees the slot when the store's answer is lost", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const store = yield* FlowStore
      const { reserve } = store
      Object.assign(store, {
        reserve: (...input: Parameters<typeof reserve>) => Effect.andThen(reserve(...input), Effect.fail(outage))
      })
      assert.strictEqual((yield* Effect.flip(flows.start(key)))._tag, "StoreError")
      Object.assign(store, { reserve })
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
      assert.strictEqual((yield* Browser).open.size, 1)
    }).pipe(Effect.provide(layer)))
})

describe("a connection that cannot give tokens any more", () => {
  it.effect("is connected anew: its token is over and there is nothing to refresh it with", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const flows = yield* Flows
      assert.strictEqual((yield* flows.start(key))._tag, "AlreadyConnected")
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("S4.62 is connected anew: its token was rejected and there is nothing to refresh it with", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const store = yield* ConnectionStore
      yield* store.reject(key, Option.getOrThrow(yield* store.get(key)))
      assert.strictEqual((yield* (yield* Flows).start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))
})

describe("an exchange", () => {
  it.effect("CR-09 whose commit landed without an answer is completed, and its tokens are not revoked", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, key } = yield* begin("mcp")
      const store = yield* FlowStore
      Object.assign(store, { complete: failing(store.complete, 1, "answer") })
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* delivery.settled).state, "completed")
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.deepStrictEqual([connection.status._tag, connection.generation], ["active", 1])
      yield* (yield* Housekeeping).revoke
      assert.deepStrictEqual((yield* Provider).revoked, [])
    }).pipe(Effect.provide(layer)))

  it.effect("CR-09 that failed is told to the audit trail although the commit landed without an answer, once", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, key } = yield* begin("mcp")
      const store = yield* FlowStore
      Object.assign(store, { fail: failing(store.fail, 2, "answer") })
      ;(yield* Provider).exchange = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* delivery.settled).failure, "code_rejected")
      const events = yield* (yield* Audit).list({ tenant: key.tenant, after: 0, limit: 100 })
      assert.deepStrictEqual(
        events.filter(({ action }) => action === "flow.settled").map(({ outcome }) => outcome),
        ["code_rejected"]
      )
    }).pipe(Effect.provide(layer)))

  it.effect("I4 seals again when a refresh was faster, and stores what the person consented to", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const points = yield* InjectionPoints
      const { authorizationUrl, flow } = yield* begin("mcp")
      const store = yield* FlowStore
      const connections = yield* ConnectionStore
      const { complete } = store
      let raced = false
      Object.assign(store, {
        complete: (...input: Parameters<typeof complete>) =>
          Effect.gen(function*() {
            const { credentials, epoch, generation } = Option.getOrThrow(yield* connections.get(key))
            if (!raced) yield* connections.commit(key, { generation, epoch, credentials, resultId: "faster" })
            raced = true
            return yield* complete(...input)
          })
      })
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* delivery.settled).state, "completed")
      assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).generation, 3)
      assert.strictEqual(yield* points.count("flow.after_commit"), 2)
    }).pipe(Effect.provide(layer)))

  it.effect("I7 that is never answered ends with an unknown outcome", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      ;(yield* Provider).exchange = () => Effect.never
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      yield* TestClock.adjust("45 seconds")
      assert.strictEqual((yield* delivery.settled).state, "outcome_unknown")
    }).pipe(Effect.provide(layer)))

  it.effect("I7 whose store hangs ends before the lease does", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      const store = yield* FlowStore
      Object.assign(store, { complete: () => Effect.never })
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      yield* TestClock.adjust("25 seconds")
      assert.strictEqual((yield* delivery.settled).failure, "storage_failed")
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-21 that was cancelled revokes its tokens although the store was away for a moment", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      yield* points.pause("flow.tokens_received")
      yield* comeBack(flow.id, response(authorizationUrl))
      yield* points.awaitReached("flow.tokens_received")
      yield* (yield* Flows).cancel(owner)
      const outbox = yield* RevocationOutbox
      Object.assign(outbox, { enqueue: failing(outbox.enqueue, 3) })
      yield* points.release("flow.tokens_received")
      yield* TestClock.adjust("5 seconds")
      yield* (yield* Housekeeping).revoke
      const provider = yield* Provider
      assert.includeMembers(provider.revoked, provider.issued)
    }).pipe(Effect.provide(layer)))

  for (
    const code of [
      "encryption_key_missing",
      "encryption_key_unavailable",
      "encryption_key_mismatch",
      "instance_mismatch",
      "integrity_error"
    ] as const
  ) {
    it.effect(`whose secrets the cipher refuses says ${code} and posts nothing`, () =>
      Effect.gen(function*() {
        const { authorizationUrl, flow } = yield* begin("mcp")
        Object.assign(yield* Cipher, { open: () => Effect.fail(new CipherError({ code })) })
        const { settled } = yield* comeBack(flow.id, response(authorizationUrl))
        assert.strictEqual((yield* settled).failure, code)
        assert.strictEqual((yield* Provider).redemptions.size, 0)
      }).pipe(Effect.provide(layer)))
  }

  it.effect("keeps its own failure when the refused client cannot be forgotten", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      const registrations = yield* RegistrationStore
      Object.assign(registrations, { remove: () => Effect.fail(outage) })
      ;(yield* Provider).exchange = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      const { settled } = yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* settled).failure, "client_misconfigured")
    }).pipe(Effect.provide(layer)))

  for (const parameters of [{ error: "access_denied" }, {}] as ReadonlyArray<Record<string, string>>) {
    const failure = "error" in parameters ? "access_denied" : "code_rejected"
    it.effect(`that ends with ${failure} says so although the store was away for a moment`, () =>
      Effect.gen(function*() {
        const { authorizationUrl, flow } = yield* begin("mcp")
        ;(yield* Provider).exchange = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
        const store = yield* FlowStore
        Object.assign(store, { fail: failing(store.fail, 3) })
        const { settled } = yield* comeBack(flow.id, response(authorizationUrl, parameters))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* settled).failure, failure)
        assert.strictEqual((yield* Browser).open.size, 0)
      }).pipe(Effect.provide(layer)))
  }

  it.effect("goes on when the request that delivered the code is interrupted", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      ;(yield* Provider).exchange = (issue) => Effect.andThen(asked.open, Effect.andThen(Deferred.await(gate), issue))
      const request = yield* Effect.forkChild(
        Effect.flatMap(comeBack(flow.id, response(authorizationUrl)), ({ settled }) => settled)
      )
      yield* asked.await
      yield* Fiber.interrupt(request)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* (yield* Flows).wait(owner, "1 minute")).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("goes on when the request is interrupted in the moment of the claim", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const store = yield* FlowStore
      const { claim } = store
      const [claimed, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
      Object.assign(store, {
        claim: (...input: Parameters<typeof claim>) =>
          Effect.tap(claim(...input), () => Effect.andThen(claimed.open, Deferred.await(gate)))
      })
      const request = yield* Effect.forkChild(comeBack(flow.id, response(authorizationUrl)))
      yield* claimed.await
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(request), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(interrupting)
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 minute"), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("is waited for when the application closes", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      yield* Effect.scoped(
        Effect.gen(function*() {
          const { authorizationUrl, flow } = yield* begin("mcp")
          const [asked, gate] = [yield* Latch.make(), yield* Deferred.make<void>()]
          ;(yield* Provider).exchange = (issue) =>
            Effect.gen(function*() {
              yield* asked.open
              yield* Deferred.await(gate)
              order.push("exchanged")
              return yield* issue
            })
          yield* comeBack(flow.id, response(authorizationUrl))
          yield* asked.await
          yield* Effect.forkDetach(Deferred.succeed(gate, undefined))
        }).pipe(Effect.provide(layer))
      )
      assert.deepStrictEqual([...order, "closed"], ["exchanged", "closed"])
    }))

  it.effect("tells the connection's subscribers when it completes", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, key } = yield* begin("mcp")
      yield* Effect.scoped(Effect.gen(function*() {
        const wake = yield* (yield* Signals).subscribe(connectionTopic(key))
        yield* comeBack(flow.id, response(authorizationUrl))
        yield* wake
      }))
    }).pipe(Effect.provide(layer)))
})

describe("a held code", () => {
  it.effect("closes the transport while it waits for the owner's word", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const started = yield* (yield* Flows).start(key, { confirmation: "finalize", returnTo })
      if (started._tag !== "Started") return assert.fail(started._tag)
      yield* comeBack(started.flow.id, response(started.authorizationUrl))
      assert.strictEqual((yield* Browser).open.size, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("that cannot be stored or sealed ends the flow at once and frees the slot", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const [store, cipher] = [yield* FlowStore, yield* Cipher]
      const { seal } = cipher
      for (
        const [slug, failure, broken] of [
          ["store", "storage_failed", () => Object.assign(store, { hold: () => Effect.fail(outage) })],
          ["cipher", "encryption_key_mismatch", () =>
            Object.assign(cipher, {
              seal: () => Effect.fail(new CipherError({ code: "encryption_key_mismatch" }))
            })]
        ] as const
      ) {
        const key = yield* keyOf(slug)
        const started = yield* flows.start(key, { confirmation: "finalize", returnTo })
        if (started._tag !== "Started") return assert.fail(started._tag)
        broken()
        yield* Effect.exit(comeBack(started.flow.id, response(started.authorizationUrl)))
        Object.assign(cipher, { seal })
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).failure, failure)
        assert.strictEqual((yield* flows.start(key))._tag, "Started")
      }
    }).pipe(Effect.provide(layer)))
})

describe("waiting", () => {
  it.effect("DB-10 finds a flow whose signal was lost by its poll", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 minute"), { startImmediately: true })
      yield* (yield* FlowStore).cancel(owner)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(waiter)).state, "cancelled")
    }).pipe(Effect.provide(layer)))

  it.effect("ends by signal when the flow is cancelled or swept, and no clock has to tick", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      for (const end of ["cancelled", "expired"]) {
        const { owner } = yield* begin(end)
        if (end === "expired") yield* TestClock.adjust("10 minutes")
        yield* Effect.scoped(Effect.gen(function*() {
          const wake = yield* (yield* Signals).subscribe(flowTopic(owner.id))
          yield* end === "cancelled" ? flows.cancel(owner) : (yield* Housekeeping).sweep
          yield* wake
        }))
      }
    }).pipe(Effect.provide(layer)))
})

describe("a transport whose flow ended elsewhere", () => {
  const settle = (times = 20) => Effect.repeat(Effect.yieldNow, { times })

  it.effect("is closed by the signal of another replica", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      yield* (yield* FlowStore).cancel(owner)
      yield* (yield* Signals).notify(flowTopic(owner.id))
      yield* settle()
      assert.strictEqual((yield* Browser).open.size, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("I23 is closed when the connection is disconnected", () =>
    Effect.gen(function*() {
      const { key, owner } = yield* begin("mcp")
      yield* (yield* Connections).disconnect(key)
      yield* settle()
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "cancelled")
      assert.strictEqual((yield* Browser).open.size, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("stays open when its connection changes and the flow does not", () =>
    Effect.gen(function*() {
      const { key } = yield* begin("mcp")
      yield* (yield* Signals).notify(connectionTopic(key))
      yield* settle()
      assert.strictEqual((yield* Browser).open.size, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("DB-10 is closed by the sweep when the signal was lost", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      yield* (yield* FlowStore).cancel(owner)
      yield* TestClock.adjust("10 minutes")
      yield* (yield* Housekeeping).sweep
      assert.strictEqual((yield* Browser).open.size, 0)
    }).pipe(Effect.provide(layer)))
})
