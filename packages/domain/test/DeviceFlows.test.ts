import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import type { RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { DeviceAnswer } from "@valetkey/domain/DeviceAuthorization"
import { DevicePoller } from "@valetkey/domain/DevicePoller"
import { DevicePolls } from "@valetkey/domain/DevicePolls"
import type { FlowState } from "@valetkey/domain/Flow"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Duration, Effect, Exit, Fiber, Layer, Option, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import { keyOf, layer, Provider, refuse, Vault } from "./World.ts"

/** A flow that waits for a device. */
const begin = Effect.fnUntraced(function*(slug = "mcp") {
  const key = yield* keyOf(slug)
  const flows = yield* Flows
  const started = yield* flows.start(key, { transport: "device", reauthorize: true })
  if (started._tag !== "Verifying") return yield* Effect.die(started._tag)
  const owner = { id: started.flow.id, tenant: key.tenant, subject: key.subject }
  return { key, owner, started, status: flows.status(owner) }
})

/** Polls what is due, to the end. */
const round = Effect.gen(function*() {
  const { done, taken } = yield* (yield* DevicePoller).begin
  yield* done
  return taken
})

/** Lets a second pass and polls what is due, so many times. */
const seconds = (count: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust("1 second"), round), { times: count - 1 })

/** When each poll was sent, in seconds since the first of them. */
const pauses = Effect.map(
  Provider,
  ({ polls }) => polls.slice(1).map(({ at }, index) => (at - polls[index]!.at) / 1000)
)

/** Answers polls in this order, the last answer again and again. */
const answers = (...script: ReadonlyArray<DeviceAnswer | RedemptionFailure | "granted">) =>
  Effect.map(Provider, (provider) => {
    let next = 0
    provider.device = (issue) => {
      const answer = script[Math.min(next++, script.length - 1)]!
      if (answer === "granted") return Effect.map(issue, (credentials) => ({ _tag: "Granted", credentials }))
      return answer._tag === "Transient" || answer._tag === "UnknownOutcome" || answer._tag === "Terminal" ||
          answer._tag === "Configuration" || answer._tag === "UntrustedIdToken"
        ? refuse(answer)
        : Effect.succeed(answer)
    }
  })

const outage = new StoreError({ code: "store_unavailable", operation: "test" })
const pending = { _tag: "Pending" } as const
const lost = { _tag: "UnknownOutcome" } as const
const used = { _tag: "Terminal", error: "invalid_grant" } as const

describe("a flow on another device", () => {
  it.effect("EXT-01 gives the person a code and a page, polls until they consent, and stores the credentials with the flow", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const { key, started, status } = yield* begin()
      assert.strictEqual(started.verificationUri, "https://as.example/device")
      assert.notStrictEqual(Redacted.value(started.userCode), "")
      // The flow's own ten minutes are less than the code's half hour.
      assert.strictEqual((yield* status).state, "pending")
      yield* answers(pending, pending, "granted")
      yield* seconds(12)
      assert.deepStrictEqual([provider.polls.length, (yield* status).state], [2, "pending"])
      yield* seconds(3)
      assert.strictEqual((yield* status).state, "completed")
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.deepStrictEqual([connection.status._tag, connection.generation], ["active", 1])
      assert.deepStrictEqual(connection.credentials.scopes, ["read"])
      yield* seconds(30)
      assert.strictEqual(provider.polls.length, 3)
      assert.deepStrictEqual([...new Set(provider.polls.map(({ deviceCode }) => deviceCode))], provider.devices)
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 is polled by itself when it is due, and goes on after a round that failed", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const polls = yield* DevicePolls
      let failing = true
      const broken = Layer.succeed(DevicePolls)({
        ...polls,
        nextDue: Effect.suspend(() =>
          failing ? Effect.fail(new StoreError({ code: "store_unavailable", operation: "nextDue" })) : polls.nextDue
        )
      })
      yield* Layer.build(
        DevicePoller.layerSchedule().pipe(Layer.provide(Layer.fresh(DevicePoller.layer)), Layer.provide(broken))
      )
      const { status } = yield* begin()
      yield* answers(pending, "granted")
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(provider.polls.length, 0)
      failing = false
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(provider.polls.length, 1)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* status).state, "completed")
      const [first, second] = provider.polls
      assert.strictEqual(second!.at - first!.at, 5000)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("EXT-01 keeps the interval, and adds five seconds for good whenever it is told to slow down", () =>
    Effect.gen(function*() {
      yield* answers(pending, { _tag: "SlowDown", interval: undefined }, pending, {
        _tag: "SlowDown",
        interval: Duration.seconds(30)
      }, pending)
      yield* begin()
      yield* seconds(120)
      assert.deepStrictEqual(yield* pauses, [5, 10, 10, 30, 30, 30])
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 asks a server that gives no answer less and less often, and as before when it is back", () =>
    Effect.gen(function*() {
      yield* answers(lost, { _tag: "Transient" }, { _tag: "Transient", retryAfter: Duration.seconds(70) }, pending)
      yield* begin()
      yield* seconds(120)
      assert.deepStrictEqual(yield* pauses, [10, 20, 70, 5, 5, 5])
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 ends with what the server says: denied, expired, refused, and polls no more", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const cases: ReadonlyArray<readonly [DeviceAnswer | RedemptionFailure, FlowState, string | undefined]> = [
        [{ _tag: "Denied" }, "failed", "access_denied"],
        [{ _tag: "Expired" }, "expired", undefined],
        [used, "failed", "code_rejected"],
        [{ _tag: "Configuration", error: "invalid_client" }, "failed", "client_misconfigured"]
      ]
      for (const [answer, state, failure] of cases) {
        yield* answers(pending, answer)
        const { key, status } = yield* begin()
        provider.polls.length = 0
        yield* seconds(30)
        const flow = yield* status
        assert.deepStrictEqual([flow.state, flow.failure, provider.polls.length], [state, failure, 2])
        assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      }
      // A client that is not known any more is not offered to the next flow.
      assert.strictEqual(provider.registrations.length, 1)
      yield* begin()
      assert.strictEqual(provider.registrations.length, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 repeats a poll whose answer was lost, and says so when the lost answer held the credentials", () =>
    Effect.gen(function*() {
      yield* answers(pending, lost, used)
      const first = yield* begin("one")
      yield* seconds(60)
      assert.strictEqual((yield* first.status).state, "outcome_unknown")
      // An answer in between proves that nothing was granted by then.
      yield* answers(lost, pending, used)
      const second = yield* begin("two")
      yield* seconds(60)
      assert.strictEqual((yield* second.status).failure, "code_rejected")
      yield* answers(lost, "granted")
      const third = yield* begin("three")
      yield* seconds(60)
      assert.strictEqual((yield* third.status).state, "completed")
      // There are servers that call a code expired that was used.
      yield* answers(lost, { _tag: "Expired" })
      const fourth = yield* begin("four")
      yield* seconds(60)
      assert.strictEqual((yield* fourth.status).state, "outcome_unknown")
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 ends at the deadline although the server still says pending", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const { started, status } = yield* begin()
      yield* seconds(600)
      assert.strictEqual((yield* status).state, "expired")
      const asked = provider.polls.length
      assert.strictEqual(asked, 119)
      yield* seconds(60)
      assert.strictEqual(provider.polls.length, asked)
      yield* (yield* Housekeeping).sweep
      const row = (yield* MemoryWorld).flows.get(started.flow.id)
      assert.deepStrictEqual([row?.device, row?.flow.state], [undefined, "expired"])
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 takes over a poll whose process died, when its lease is over and not before", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      const provider = yield* Provider
      const { status } = yield* begin()
      yield* answers(pending, "granted")
      // Another replica on the same store.
      const scope = yield* Scope.make()
      const other = yield* Layer.buildWithScope(Layer.fresh(DevicePoller.layer), scope)
      yield* points.interrupt("device.answered", { times: 1 })
      yield* TestClock.adjust("5 seconds")
      yield* Effect.flatMap(
        Effect.provideContext(DevicePoller, other),
        ({ begin }) => Effect.flatMap(begin, ({ done }) => done)
      )
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(provider.polls.length, 1)
      yield* seconds(59)
      assert.strictEqual(provider.polls.length, 1)
      yield* seconds(1)
      assert.strictEqual(provider.polls.length, 2)
      assert.strictEqual((yield* status).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-01 sends nothing when a pause ate the lease: somebody else may be asking", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      const provider = yield* Provider
      yield* begin()
      yield* points.delay("device.claimed", "26 seconds", { times: 1 })
      yield* TestClock.adjust("5 seconds")
      const { done } = yield* (yield* DevicePoller).begin
      yield* TestClock.adjust("26 seconds")
      yield* done
      assert.strictEqual(provider.polls.length, 0)
      yield* seconds(34)
      assert.strictEqual(provider.polls.length, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 revokes what another account granted to a client that was registered for the server", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const signIn = Effect.fnUntraced(function*(id: string) {
        provider.answer = (credentials) => ({ ...credentials, account: { issuer: "https://as.example", id } })
        const { status } = yield* begin()
        yield* answers("granted")
        yield* seconds(6)
        return yield* status
      })
      assert.strictEqual((yield* signIn("1001")).state, "completed")
      assert.strictEqual((yield* signIn("1002")).failure, "account_changed")
      yield* (yield* Housekeeping).revoke
      assert.include(provider.revoked, provider.issued[1])
    }).pipe(Effect.provide(layer)))

  it.effect("I8 EXT-01 revokes what is granted after a cancel, and stops", () =>
    Effect.gen(function*() {
      const points = yield* InjectionPoints
      const provider = yield* Provider
      const { key, owner, status } = yield* begin()
      yield* answers("granted")
      yield* points.pause("device.answered", { times: 1 })
      yield* TestClock.adjust("5 seconds")
      const { done } = yield* (yield* DevicePoller).begin
      yield* points.awaitReached("device.answered")
      yield* (yield* Flows).cancel(owner)
      yield* points.release("device.answered")
      yield* done
      assert.strictEqual((yield* status).state, "cancelled")
      assert.isTrue(Option.isNone(yield* (yield* ConnectionStore).get(key)))
      yield* (yield* Housekeeping).revoke
      assert.includeMembers(provider.revoked, provider.issued)
      assert.strictEqual(yield* seconds(60), 0)
    }).pipe(Effect.provide(layer)))

  it.effect("stops a superseded flow, and the newer one has a code of its own", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const old = yield* begin()
      const next = yield* (yield* Flows).start(old.key, { transport: "device", onConflict: "supersede" })
      assert.strictEqual(next._tag, "Verifying")
      yield* seconds(10)
      assert.strictEqual((yield* old.status).state, "superseded")
      assert.deepStrictEqual(provider.polls.map(({ deviceCode }) => deviceCode), [
        provider.devices[1],
        provider.devices[1]
      ])
    }).pipe(Effect.provide(layer)))

  it.effect("wakes whoever waits for the flow", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin()
      yield* answers("granted")
      const waiter = yield* Effect.forkChild((yield* Flows).wait(owner, "1 hour"))
      yield* seconds(5)
      assert.strictEqual((yield* Fiber.join(waiter)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("CR-09 keeps credentials whose acceptance landed without an answer", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const { accept } = polls
      let lost = 2
      Object.assign(polls, {
        accept: (...input: Parameters<typeof accept>) =>
          Effect.flatMap(accept(...input), (fence) => lost-- > 0 ? Effect.fail(outage) : Effect.succeed(fence))
      })
      const { key, status } = yield* begin()
      yield* answers("granted")
      yield* TestClock.adjust("5 seconds")
      const { done } = yield* (yield* DevicePoller).begin
      yield* TestClock.adjust("5 seconds")
      yield* done
      assert.deepStrictEqual([lost, (yield* status).state], [-1, "completed"])
      assert.isTrue(Option.isSome(yield* (yield* ConnectionStore).get(key)))
      yield* (yield* Housekeeping).revoke
      assert.deepStrictEqual((yield* Provider).revoked, [])
    }).pipe(Effect.provide(layer)))

  it.effect("CR-09 tells the audit trail of an end whose commit landed without an answer, once", () =>
    Effect.gen(function*() {
      const polls = yield* DevicePolls
      const { end } = polls
      let lost = 2
      Object.assign(polls, {
        end: (...input: Parameters<typeof end>) =>
          Effect.flatMap(end(...input), (ended) => lost-- > 0 ? Effect.fail(outage) : Effect.succeed(ended))
      })
      const { key, status } = yield* begin()
      yield* answers({ _tag: "Denied" })
      yield* TestClock.adjust("5 seconds")
      const { done } = yield* (yield* DevicePoller).begin
      yield* TestClock.adjust("5 seconds")
      yield* done
      assert.deepStrictEqual([lost, (yield* status).failure], [-1, "access_denied"])
      const events = yield* (yield* Audit).list({ tenant: key.tenant, after: 0, limit: 100 })
      assert.deepStrictEqual(
        events.filter(({ action }) => action === "flow.settled").map(({ outcome }) => outcome),
        ["access_denied"]
      )
    }).pipe(Effect.provide(layer)))

  it.effect("I14 polls on when the key is back, and sends nothing without it", () =>
    Effect.gen(function*() {
      const vault = yield* Vault
      const provider = yield* Provider
      const { status } = yield* begin()
      yield* answers("granted")
      vault.locked = true
      yield* seconds(20)
      assert.strictEqual(provider.polls.length, 0)
      vault.locked = false
      yield* seconds(5)
      assert.strictEqual((yield* status).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("names its end when the key is lost between the grant and the storing", () =>
    Effect.gen(function*() {
      const vault = yield* Vault
      const points = yield* InjectionPoints
      const { status } = yield* begin()
      yield* answers("granted")
      yield* points.run("flow.before_commit", Effect.sync(() => void (vault.locked = true)), { times: 1 })
      yield* seconds(5)
      assert.deepStrictEqual([(yield* status).state, (yield* status).failure], ["failed", "encryption_key_missing"])
    }).pipe(Effect.provide(layer)))

  it.effect("registers a client without a redirect URI, and uses it again", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const { key, owner } = yield* begin()
      yield* (yield* Flows).cancel(owner)
      yield* begin()
      assert.deepStrictEqual(provider.registrations, ["device"])
      const registration = yield* (yield* RegistrationStore).get({
        tenant: key.tenant,
        server: key.server,
        issuer: "https://as.example",
        transport: "device"
      })
      assert.isFalse("redirectUri" in Option.getOrThrow(registration))
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-02 keeps the device code sealed and the user code nowhere", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const { started } = yield* begin()
      const row = (yield* MemoryWorld).flows.get(started.flow.id)!
      const text = JSON.stringify(
        row,
        (_, value) => value instanceof Uint8Array ? Buffer.from(value).toString() : value
      )
      assert.notInclude(text, provider.devices[0]!)
      assert.notInclude(text, Redacted.value(started.userCode))
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-02 belongs to who started it: nobody else sees, continues or cancels it", () =>
    Effect.gen(function*() {
      const { owner } = yield* begin()
      const flows = yield* Flows
      const stranger = (yield* keyOf("mcp", { subject: "eve" })).subject
      for (const attempt of [flows.status, (other: typeof owner) => flows.handOff(other, "loopback"), flows.cancel]) {
        const error = yield* Effect.flip<unknown, unknown, never>(attempt({ ...owner, subject: stranger }))
        assert.strictEqual((error as { readonly code: string }).code, "flow_not_found")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-02 starts nothing where the operator forbids it, and nothing that an application would have to finalize", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const provider = yield* Provider
      const scope = yield* Effect.scope
      const strict = yield* Layer.buildWithScope(Layer.fresh(Flows.layer({ device: false })), scope)
      const forbidden = yield* Effect.flip(
        Effect.flatMap(Effect.provideContext(Flows, strict), (flows) => flows.start(key, { transport: "device" }))
      )
      assert.strictEqual(forbidden.code, "transport_unavailable")
      const unconfirmable = yield* Effect.flip((yield* Flows).start(key, {
        transport: "device",
        confirmation: "finalize",
        returnTo: "https://app.example/connected?from=valetkey"
      }))
      assert.strictEqual(unconfirmable.code, "device_unconfirmable")
      assert.deepStrictEqual(provider.devices, [])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
