import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { DevicePoller } from "@valetkey/domain/DevicePoller"
import type { TransportKind } from "@valetkey/domain/Flow"
import { Flows } from "@valetkey/domain/Flows"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Effect, Fiber, Option, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, keyOf, layer, Provider, response, returnTo } from "./World.ts"

const callbackUrl = (authorizationUrl: Redacted.Redacted) => {
  const { searchParams } = new URL(Redacted.value(authorizationUrl))
  const query = new URLSearchParams({
    state: searchParams.get("state")!,
    iss: "https://as.example",
    code: "a code"
  })
  return Redacted.make(`${searchParams.get("redirect_uri")}?${query}`)
}

/** What was open for a flow when it was started: a browser may still come back there. */
const listenerOf = (id: string) => Effect.map(Browser, ({ open }) => open.get(id)!)

/** Lets one poll be granted. */
const consentElsewhere = Effect.gen(function*() {
  const provider = yield* Provider
  provider.device = (issue) => Effect.map(issue, (credentials) => ({ _tag: "Granted", credentials }))
  yield* TestClock.adjust("5 seconds")
  yield* Effect.flatMap((yield* DevicePoller).begin, ({ done }) => done)
})

const codeOf = (error: { readonly code: string }) => error.code

describe("handing a flow off", () => {
  it.effect("continues on another device as the same flow, and lets nothing of the former way in", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const provider = yield* Provider
      const { authorizationUrl, flow, key, owner } = yield* begin("mcp")
      const former = yield* listenerOf(flow.id)
      const waiter = yield* Effect.forkChild(flows.wait(owner, "1 hour"))
      const ready = yield* flows.handOff(owner, "device")
      assert.strictEqual(ready._tag, "Verifying")
      assert.deepStrictEqual(
        [ready.flow.id, ready.flow.transport, ready.flow.handOffs, ready.flow.state],
        [flow.id, "device", 1, "pending"]
      )
      assert.deepStrictEqual(ready.flow.expiresAt, flow.expiresAt)
      assert.strictEqual((yield* Browser).open.size, 0)
      const late = yield* Effect.flip(former.deliver(response(authorizationUrl)))
      assert.strictEqual(late.code, "callback_unknown")
      assert.strictEqual((yield* Effect.flip(flows.start(key, { reauthorize: true }))).code, "flow_conflict")

      yield* consentElsewhere
      assert.strictEqual((yield* Fiber.join(waiter)).state, "completed")
      assert.strictEqual(provider.exchanged.length, 0)
      assert.isTrue(Option.isSome(yield* (yield* ConnectionStore).get(key)))
      yield* (yield* AuditTrail).flush
      const events = yield* (yield* Audit).list({ tenant: key.tenant, after: 0, limit: 100 })
      assert.deepStrictEqual(
        events.filter(({ action }) => action.startsWith("flow.")).map(({ action, outcome }) => [action, outcome]),
        [["flow.started", "loopback"], ["flow.handed_off", "device"], ["flow.settled", "completed"]]
      )
    }).pipe(Effect.provide(layer)))

  it.effect("continues over the gateway, bound to the first browser as ever", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { flow, owner } = yield* begin("mcp")
      const ready = yield* flows.handOff(owner, "gateway")
      if (ready._tag !== "Offered") return assert.fail(ready._tag)
      const ticket = Redacted.make(Redacted.value(ready.connectUrl).split("/").at(-1)!)
      const offer = Option.getOrThrow(yield* flows.offer(ticket, () => undefined))
      assert.deepStrictEqual([offer.flow.id, offer.compareCode], [flow.id, ready.compareCode])
      const secret = Redacted.make("a browser")
      const { authorizationUrl } = Option.getOrThrow(yield* flows.depart(ticket, secret))
      const context = new URL(Redacted.value(authorizationUrl)).searchParams.get("redirect_uri")!.split("/").at(-1)!
      const delivery = yield* flows.complete(response(authorizationUrl), { context, browser: () => secret })
      assert.strictEqual((yield* delivery.settled).state, "completed")

      const again = yield* begin("other")
      const offered = yield* flows.handOff(again.owner, "gateway")
      if (offered._tag !== "Offered") return assert.fail(offered._tag)
      yield* flows.handOff(again.owner, "device")
      const stale = Redacted.make(Redacted.value(offered.connectUrl).split("/").at(-1)!)
      assert.isTrue(Option.isNone(yield* flows.offer(stale, () => undefined)))
      assert.isTrue(Option.isNone(yield* flows.depart(stale, secret)))
    }).pipe(Effect.provide(layer)))

  it.effect("gives a loopback flow another URL, and takes a pasted address of that one alone", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { authorizationUrl, owner } = yield* begin("mcp")
      const ready = yield* flows.handOff(owner, "loopback")
      if (ready._tag !== "Started") return assert.fail(ready._tag)
      const stale = yield* Effect.flip(flows.paste(owner, callbackUrl(authorizationUrl)))
      assert.strictEqual(stale.code, "callback_url_mismatch")
      assert.strictEqual((yield* flows.paste(owner, callbackUrl(ready.authorizationUrl))).state, "completed")
      assert.strictEqual((yield* Browser).open.size, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-04 leaves the flow to a callback that was first, and closes what it opened", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const points = yield* InjectionPoints
      const provider = yield* Provider
      for (const kind of ["device", "loopback"] as const) {
        const { authorizationUrl, flow, owner } = yield* begin(`mcp-${kind}`)
        const former = yield* listenerOf(flow.id)
        const reached = yield* points.count("flow.handing_off")
        yield* points.pause("flow.handing_off", { times: 1 })
        const handOff = yield* Effect.forkChild(Effect.result(flows.handOff(owner, kind)))
        yield* points.awaitReached("flow.handing_off", reached + 1)
        const delivery = yield* former.deliver(response(authorizationUrl))
        yield* points.release("flow.handing_off")
        const refused = yield* Fiber.join(handOff)
        assert.strictEqual(Result.isFailure(refused) && refused.failure.code, "handoff_late")
        assert.strictEqual((yield* delivery.settled).state, "completed")
        assert.strictEqual((yield* Browser).open.size, 0)
      }
      yield* consentElsewhere
      assert.deepStrictEqual([provider.polls.length, provider.exchanged.length], [0, 2])
    }).pipe(Effect.provide(layer)))

  it.effect("leaves nothing open beside a cancel, whichever is first", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const points = yield* InjectionPoints
      const browser = yield* Browser
      const before = yield* begin("before")
      yield* points.pause("flow.handing_off", { times: 1 })
      const handOff = yield* Effect.forkChild(Effect.result(flows.handOff(before.owner, "loopback")))
      yield* points.awaitReached("flow.handing_off")
      yield* flows.cancel(before.owner)
      yield* points.release("flow.handing_off")
      const refused = yield* Fiber.join(handOff)
      assert.strictEqual(Result.isFailure(refused) && refused.failure.code, "handoff_late")
      assert.strictEqual(browser.open.size, 0)

      // The former transport closes after the flow was handed off and before the new one is known.
      const between = yield* begin("between")
      browser.onClose = Effect.suspend(() => {
        browser.onClose = Effect.void
        return Effect.orDie(flows.cancel(between.owner))
      })
      assert.strictEqual(codeOf(yield* Effect.flip(flows.handOff(between.owner, "loopback"))), "handoff_late")
      assert.deepStrictEqual([(yield* flows.status(between.owner)).state, browser.open.size], ["cancelled", 0])

      const after = yield* begin("after")
      yield* flows.handOff(after.owner, "loopback")
      yield* flows.cancel(after.owner)
      assert.strictEqual(browser.open.size, 0)
    }).pipe(Effect.provide(layer)))

  it.effect("gives the flow to one of two hand-offs, and the other's way leads nowhere", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const points = yield* InjectionPoints
      const browser = yield* Browser
      const { flow, owner } = yield* begin("mcp")
      yield* points.pause("flow.handing_off", { times: 2 })
      const both = yield* Effect.forEach(
        ["device", "loopback"] as const,
        (kind) => Effect.forkChild(Effect.result(flows.handOff(owner, kind)))
      )
      yield* points.awaitReached("flow.handing_off", 2)
      yield* points.release("flow.handing_off")
      const results = yield* Effect.forEach(both, Fiber.join)
      const won = results.filter(Result.isSuccess)
      const lost = results.filter(Result.isFailure)
      assert.deepStrictEqual([won.length, lost.map(({ failure }) => failure.code)], [1, ["handoff_late"]])
      const now = yield* flows.status(owner)
      assert.deepStrictEqual([now.state, now.handOffs, now.transport], ["pending", 1, won[0]!.success.flow.transport])
      assert.strictEqual(browser.open.size, now.transport === "loopback" ? 1 : 0)
      if (won[0]!.success._tag === "Started") {
        const delivery = yield* comeBack(flow.id, response(won[0]!.success.authorizationUrl))
        assert.strictEqual((yield* delivery.settled).state, "completed")
      } else {
        yield* consentElsewhere
        assert.strictEqual((yield* flows.status(owner)).state, "completed")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("voids a poll that is under way", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const points = yield* InjectionPoints
      const provider = yield* Provider
      const key = yield* keyOf("mcp")
      const started = yield* flows.start(key, { transport: "device" })
      if (started._tag !== "Verifying") return assert.fail(started._tag)
      const owner = { id: started.flow.id, tenant: key.tenant, subject: key.subject }
      provider.device = () => Effect.succeed({ _tag: "Denied" })
      yield* points.pause("device.answered", { times: 1 })
      yield* TestClock.adjust("5 seconds")
      const { done } = yield* (yield* DevicePoller).begin
      yield* points.awaitReached("device.answered")
      yield* flows.handOff(owner, "device")
      yield* points.release("device.answered")
      yield* done
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
      yield* consentElsewhere
      assert.strictEqual((yield* flows.status(owner)).state, "completed")
      assert.deepStrictEqual(provider.polls.map(({ deviceCode }) => deviceCode), provider.devices)
    }).pipe(Effect.provide(layer)))

  it.effect("refuses a flow that is starting, that an application finalizes, that has its answer or is over, and a stranger", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const points = yield* InjectionPoints
      const key = yield* keyOf("starting")
      yield* points.pause("flow.reserved", { times: 1 })
      const start = yield* Effect.forkChild(flows.start(key))
      yield* points.awaitReached("flow.reserved")
      const starting = Option.getOrThrow(yield* flows.latest(key))
      const ownerOf = (id: typeof starting.id) => ({ id, tenant: key.tenant, subject: key.subject })
      const refusal = (id: typeof starting.id, kind: TransportKind = "device") =>
        Effect.map(Effect.flip(flows.handOff(ownerOf(id), kind)), codeOf)
      assert.strictEqual(yield* refusal(starting.id), "handoff_early")
      yield* points.release("flow.reserved")
      assert.strictEqual((yield* Fiber.join(start))._tag, "Started")
      assert.strictEqual(yield* refusal(starting.id, "paste"), "transport_unavailable")

      const finalized = yield* flows.start(yield* keyOf("finalized"), {
        transport: "gateway",
        confirmation: "finalize",
        returnTo
      })
      if (finalized._tag !== "Started") return assert.fail(finalized._tag)
      assert.strictEqual(yield* refusal(finalized.flow.id), "handoff_unexpected")

      const claimed = yield* begin("claimed")
      yield* points.pause("flow.claimed", { times: 1 })
      const delivery = yield* comeBack(claimed.flow.id, response(claimed.authorizationUrl))
      assert.strictEqual(yield* refusal(claimed.flow.id), "handoff_late")
      yield* points.release("flow.claimed")
      yield* delivery.settled
      assert.strictEqual(yield* refusal(claimed.flow.id), "handoff_late")
      const stranger = (yield* keyOf("starting", { subject: "eve" })).subject
      const error = yield* Effect.flip(flows.handOff({ ...ownerOf(starting.id), subject: stranger }, "device"))
      assert.strictEqual(error.code, "flow_not_found")
    }).pipe(Effect.provide(layer)))

  it.effect("leaves a flow as it is when the new way cannot be opened", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const provider = yield* Provider
      const { authorizationUrl, flow, owner } = yield* begin("mcp")
      provider.discovery = Effect.fail(new DiscoveryError({ code: "authorization_server_unreachable" }))
      for (const kind of ["device", "loopback"] as const) {
        assert.strictEqual(codeOf(yield* Effect.flip(flows.handOff(owner, kind))), "authorization_server_unreachable")
      }
      assert.strictEqual((yield* Browser).open.size, 1)
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      assert.strictEqual((yield* delivery.settled).state, "completed")
    }).pipe(Effect.provide(layer)))
})
