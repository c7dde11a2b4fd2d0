import { assert, describe, it } from "@effect/vitest"
import type { CallbackReceived } from "@valetkey/domain/Authorization"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowId } from "@valetkey/domain/Flow"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { Deferred, Effect, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, connect, keyOf, layer, Provider, refuse, response, Vault } from "./World.ts"

/** The same response without one of its parameters. */
const without = (received: CallbackReceived, name: "iss"): CallbackReceived =>
  Object.assign(Object.create(Object.getPrototypeOf(received)), received, { [name]: undefined })

describe("Flows.complete", () => {
  it.effect("S1.6 S1.43 success stores the credentials, completes the flow and activates the connection", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      assert.strictEqual((yield* connect(key)).state, "completed")
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.deepStrictEqual([connection.status._tag, connection.generation, connection.credentials.scopes], [
        "active",
        1,
        ["read"]
      ])
    }).pipe(Effect.provide(layer)))

  it.effect("S1.10 S1.43 S2x.9 FLOW-02 FLOW-12 a wrong state exchanges nothing, stores nothing and the flow still completes", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, key, owner } = yield* begin("mcp")
      const flows = yield* Flows
      const forged = response(Redacted.make("https://as.example/authorize?state=forged"))
      const denied = response(Redacted.make("https://as.example/authorize?state=forged"), { error: "access_denied" })
      for (const received of [forged, denied]) {
        assert.strictEqual((yield* Effect.flip(comeBack(flow.id, received)))._tag, "CallbackRejected")
      }
      assert.strictEqual((yield* Provider).exchanged.length, 0)
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
      yield* (yield* comeBack(flow.id, response(authorizationUrl))).settled
      assert.strictEqual((yield* flows.status(owner)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("a callback on another connection's context changes nothing", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      const flows = yield* Flows
      const { context } = (yield* Browser).open.get(flow.id)!
      const received = response(authorizationUrl)
      assert.strictEqual((yield* Effect.flip(flows.complete(received, { context: "other" }))).code, "callback_unknown")
      assert.strictEqual((yield* (yield* flows.complete(received, { context })).settled).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.11 S1.32 S1.33 every fault ends in failed with a code and stores no partial token", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const cases = [
        [{ _tag: "Terminal", error: "invalid_grant" }, "failed", "code_rejected"],
        [{ _tag: "Configuration", error: "invalid_client" }, "failed", "client_misconfigured"],
        [{ _tag: "Transient" }, "failed", "authorization_server_unavailable"],
        [{ _tag: "UnknownOutcome" }, "outcome_unknown", undefined]
      ] as const
      for (const [index, [reason, state, failure]] of cases.entries()) {
        provider.exchange = () => refuse(reason)
        const key = yield* keyOf(`fault-${index}`)
        const flow = yield* connect(key)
        assert.deepStrictEqual([flow.state, flow.failure], [state, failure])
        assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      }
    }).pipe(Effect.provide(layer)))

  it.effect("registers anew after the provider has forgotten the client", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* keyOf("mcp")
      provider.exchange = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      yield* connect(key)
      provider.exchange = (issue) => issue
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.strictEqual(provider.registrations.length, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("S1.11 a key that is lost before the exchange fails the flow and posts no code", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      const vault = yield* Vault
      vault.locked = true
      const settled = yield* (yield* comeBack(flow.id, response(authorizationUrl))).settled
      assert.deepStrictEqual([settled.state, settled.failure], ["failed", "encryption_key_missing"])
      assert.strictEqual((yield* Provider).exchanged.length, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("S1.12 completes without a refresh token", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      provider.answer = ({ refreshToken: _, ...credentials }) => credentials
      const key = yield* keyOf("mcp")
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.isUndefined(Option.getOrThrow(yield* (yield* ConnectionStore).get(key)).credentials.refreshToken)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-13 a denial is a terminal failure with a fixed code, and a new start is allowed", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, key } = yield* begin("mcp")
      const settled = yield* (yield* comeBack(flow.id, response(authorizationUrl, { error: "access_denied" }))).settled
      assert.deepStrictEqual([settled.state, settled.failure], ["failed", "access_denied"])
      assert.strictEqual((yield* (yield* Flows).start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("DISC-01 DISC-02 DISC-04 an answer that is not of the issuer, to the letter, is exchanged nowhere", () =>
    Effect.gen(function*() {
      const others = {
        "DISC-01": ["https://evil.example", "https://as.example.evil.example", ""],
        "DISC-02": [undefined],
        "DISC-04": [
          "https://as.example/",
          "https://as.example:443",
          "https://AS.example",
          "HTTPS://as.example",
          "https://as.ex%61mple",
          "https://as.example?",
          " https://as.example"
        ]
      }
      for (const iss of Object.values(others).flat()) {
        const { authorizationUrl, flow } = yield* begin("mcp")
        const received = response(authorizationUrl, iss === undefined ? {} : { iss })
        const settled = yield* (yield* comeBack(flow.id, iss === undefined ? without(received, "iss") : received))
          .settled
        assert.deepStrictEqual([settled.state, settled.failure], ["failed", "issuer_mismatch"], iss)
      }
      assert.strictEqual((yield* Provider).exchanged.length, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("DISC-05 an error of another issuer is neither acted on nor told", () =>
    Effect.gen(function*() {
      for (const error of ["access_denied", "server_error", "evil_text"]) {
        const { authorizationUrl, flow } = yield* begin("mcp")
        const received = response(authorizationUrl, {
          iss: "https://evil.example",
          error,
          error_description: "evil_text"
        })
        const settled = yield* (yield* comeBack(flow.id, received)).settled
        assert.strictEqual(settled.failure, "issuer_mismatch")
        const told = JSON.stringify([settled, yield* (yield* LogRecorder).lines])
        for (const theirs of ["evil_text", "evil.example", error]) assert.notInclude(told, theirs)
      }
      assert.strictEqual((yield* Provider).exchanged.length, 0)
    }).pipe(Effect.provide(layer), Effect.provide(LogRecorder.layer)))

  it.effect("FLOW-04 FLOW-05 I2 fifty duplicates of a callback post the code once and all see the outcome", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      const received = response(authorizationUrl)
      const { complete } = yield* Flows
      const { context } = (yield* Browser).open.get(flow.id)!
      const settled = yield* Effect.all(
        Array.from(
          { length: 50 },
          () => Effect.flatMap(complete(received, { context }), (delivery) => delivery.settled)
        ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([...new Set(settled.map((one) => one.state))], ["completed"])
      assert.strictEqual((yield* Provider).redemptions.get(Redacted.value(received.code!)), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-19 a callback after the deadline is void", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const listener = (yield* Browser).open.get(flow.id)!
      yield* TestClock.adjust("11 minutes")
      const delivered = yield* Effect.result(listener.deliver(response(authorizationUrl)))
      assert.strictEqual(delivered._tag === "Success" && (yield* delivered.success.settled).state, "expired")
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "expired")
      assert.strictEqual((yield* Provider).exchanged.length, 0)
    }).pipe(Effect.provide(layer)))
})

describe("Flows.status", () => {
  it.effect("S1.7 S1.13 S1.17 every handler sees the same flow in each state, and a completed one has no URL", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const elsewhere = Effect.flatMap(Flows, (flows) => flows.status(owner))
      assert.strictEqual((yield* elsewhere).state, "pending")
      yield* (yield* comeBack(flow.id, response(authorizationUrl))).settled
      const completed = yield* elsewhere
      assert.strictEqual(completed.state, "completed")
      const state = new URL(Redacted.value(authorizationUrl)).searchParams.get("state")!
      assert.notInclude(JSON.stringify(completed), state)
      assert.notProperty(completed, "authorizationUrl")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.14 S1.43 a connection that was never started has no flow", () =>
    Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* (yield* Flows).latest(yield* keyOf("mcp"))))
    }).pipe(Effect.provide(layer)))

  it.effect("S1.15 S1.16 a settled flow stays as it is until the next start replaces it", () =>
    Effect.gen(function*() {
      const { flow, key, owner } = yield* begin("mcp")
      const flows = yield* Flows
      yield* flows.cancel(owner)
      for (let read = 0; read < 10; read++) {
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).state, "cancelled")
      }
      yield* flows.start(key)
      const next = Option.getOrThrow(yield* flows.latest(key))
      assert.strictEqual(next.state, "pending")
      assert.notStrictEqual(next.id, flow.id)
    }).pipe(Effect.provide(layer)))

  it.effect("S1.18 waiting returns for completed and failed, and at once for a settled flow", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      for (const parameters of [{}, { error: "access_denied" }]) {
        const { authorizationUrl, flow, owner } = yield* begin(`mcp-${Object.keys(parameters).length}`)
        const waiter = yield* Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
        yield* comeBack(flow.id, response(authorizationUrl, parameters))
        const seen = yield* Fiber.join(waiter)
        assert.strictEqual(seen.state, "error" in parameters ? "failed" : "completed")
        assert.strictEqual((yield* flows.wait(owner, "1 minute")).state, seen.state)
      }
      const unknown = { ...(yield* begin("other")).owner, id: FlowId.make("00000000-0000-7000-8000-000000000000") }
      assert.strictEqual((yield* Effect.flip(flows.wait(unknown, "1 minute")))._tag, "FlowNotFound")
    }).pipe(Effect.provide(layer)))

  it.effect("waiting gives the pending flow back when its time is over, and one waiter's abort is not felt by another", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const short = yield* Effect.forkChild(flows.wait(owner, "5 seconds"), { startImmediately: true })
      const aborted = yield* Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
      const patient = yield* Effect.forkChild(flows.wait(owner, "1 minute"), { startImmediately: true })
      yield* Fiber.interrupt(aborted)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(short)).state, "pending")
      yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* Fiber.join(patient)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-24 another user's flow is as unknown as none", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      const flows = yield* Flows
      const other = yield* keyOf("mcp", { subject: "eve" })
      const foreign = yield* Effect.flip(flows.status({ ...owner, subject: other.subject }))
      const foreignTenant = yield* Effect.flip(
        flows.cancel({ ...owner, tenant: (yield* keyOf("mcp", { tenant: "evil" })).tenant })
      )
      assert.deepStrictEqual([foreign._tag, foreignTenant._tag], ["FlowNotFound", "FlowNotFound"])
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
    }).pipe(Effect.provide(layer)))
})

describe("Flows.cancel", () => {
  it.effect("S1.19 S1.20 FLOW-20 closes the listener; what arrives later is void; cancelling again is fine", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      const flows = yield* Flows
      const listener = (yield* Browser).open.get(flow.id)!
      yield* flows.cancel(owner)
      assert.strictEqual((yield* Browser).open.size, 0)
      yield* Effect.ignore(listener.deliver(response(authorizationUrl)))
      yield* flows.cancel(owner)
      assert.strictEqual((yield* flows.status(owner)).state, "cancelled")
      assert.strictEqual((yield* Provider).exchanged.length, 0)
      const unknown = { ...owner, id: FlowId.make("00000000-0000-7000-8000-000000000000") }
      assert.strictEqual((yield* Effect.flip(flows.cancel(unknown)))._tag, "FlowNotFound")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.21 S1.43 starts again right after a cancel", () =>
    Effect.gen(function*() {
      const { key, owner } = yield* begin("mcp")
      const flows = yield* Flows
      yield* flows.cancel(owner)
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.25 S1.26 a cancel while the listener is binding closes it, and the start says that it was pre-empted", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const browser = yield* Browser
      const [binding, bind] = [yield* Latch.make(), yield* Latch.make()]
      browser.beforeOpen = Effect.andThen(binding.open, bind.await)
      const start = yield* Effect.forkChild(Effect.flip(flows.start(key)))
      yield* binding.await
      const { id } = Option.getOrThrow(yield* flows.latest(key))
      yield* flows.cancel({ id, tenant: key.tenant, subject: key.subject })
      yield* bind.open
      assert.strictEqual((yield* Fiber.join(start))._tag, "FlowPreempted")
      assert.strictEqual(browser.open.size, 0)
      assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).state, "cancelled")
    }).pipe(Effect.provide(layer)))

  for (
    const [rows, point] of [
      ["S1.27 S1.29 FLOW-21", "flow.tokens_received"],
      ["S1.31", "flow.before_commit"],
      ["S1.27", "flow.code_sent"]
    ] as const
  ) {
    it.effect(`${rows} S1.43 no write when preempted at ${point}: nothing is stored and the tokens are revoked`, () =>
      Effect.gen(function*() {
        const points = yield* InjectionPoints
        const { authorizationUrl, flow, key, owner } = yield* begin("mcp")
        yield* points.pause(point)
        yield* comeBack(flow.id, response(authorizationUrl))
        yield* points.awaitReached(point)
        yield* (yield* Flows).cancel(owner)
        yield* points.release(point)
        yield* points.awaitReached("flow.after_commit")
        yield* Effect.yieldNow
        yield* (yield* Housekeeping).revoke
        assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
        assert.strictEqual((yield* (yield* Flows).status(owner)).state, "cancelled")
        const provider = yield* Provider
        assert.includeMembers(provider.revoked, provider.issued)
      }).pipe(Effect.provide(layer)))
  }

  it.effect("S1.28 S1.30 S1.43 FLOW-22 the old run's late failure and late success never touch the new run", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const flows = yield* Flows
      for (
        const [index, late] of [
          (issue: Effect.Effect<never>) => issue,
          () => refuse({ _tag: "Terminal", error: "invalid_grant" })
        ].entries()
      ) {
        const old = yield* begin(`mcp-${index}`)
        const gate = yield* Deferred.make<void>()
        const done = yield* Latch.make()
        provider.exchange = (issue) =>
          Effect.ensuring(Effect.andThen(Deferred.await(gate), late(issue as never)), done.open)
        yield* comeBack(old.flow.id, response(old.authorizationUrl))
        yield* flows.cancel(old.owner)
        const next = yield* flows.start(old.key)
        if (next._tag !== "Started") return assert.fail(next._tag)
        yield* Deferred.succeed(gate, undefined)
        yield* done.await
        yield* Effect.yieldNow
        provider.exchange = (issue) => issue
        const owner = { ...old.owner, id: next.flow.id }
        assert.strictEqual((yield* flows.status(owner)).state, "pending")
        yield* (yield* comeBack(next.flow.id, response(next.authorizationUrl))).settled
        assert.strictEqual((yield* flows.status(owner)).state, "completed")
        assert.strictEqual((yield* flows.status(old.owner)).state, "cancelled")
      }
    }).pipe(Effect.provide(layer)))
})

describe("the transport of a flow", () => {
  it.effect("S1.41 is closed after success and after failure", () =>
    Effect.gen(function*() {
      for (const parameters of [{}, { error: "access_denied" }]) {
        const { authorizationUrl, flow, owner } = yield* begin(`mcp-${Object.keys(parameters).length}`)
        const closed = yield* Latch.make()
        ;(yield* Browser).onClose = closed.open
        yield* (yield* comeBack(flow.id, response(authorizationUrl, parameters))).settled
        yield* closed.await
        assert.isFalse((yield* Browser).open.has(owner.id))
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S1.35 a transport that fails to close is warned about and does not change the outcome", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow } = yield* begin("mcp")
      ;(yield* Browser).onClose = Effect.die(new Error("socket stuck"))
      const settled = yield* (yield* comeBack(flow.id, response(authorizationUrl))).settled
      assert.strictEqual(settled.state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.40 closing the application closes and awaits every pending listener", () =>
    Effect.gen(function*() {
      const browser = yield* Effect.scoped(
        Effect.gen(function*() {
          for (const slug of ["a", "b", "c"]) yield* begin(slug)
          const browser = yield* Browser
          assert.strictEqual(browser.open.size, 3)
          return browser
        }).pipe(Effect.provide(layer))
      )
      assert.strictEqual(browser.open.size, 0)
    }))

  it.effect("S1x.6 is closed by the sweep when nobody comes back", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin("mcp")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* (yield* Housekeeping).sweep, 1)
      assert.strictEqual((yield* Browser).open.size, 0)
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "expired")
    }).pipe(Effect.provide(layer)))
})
