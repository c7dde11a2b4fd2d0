import { assert, describe, it } from "@effect/vitest"
import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import * as CompareCode from "@valetkey/domain/CompareCode"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { type Digest, Entropy } from "@valetkey/domain/Entropy"
import { Flows } from "@valetkey/domain/Flows"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { keyOf, layer, Provider, response } from "./World.ts"

/** A flow over the gateway, and its ticket. */
const offered = Effect.fnUntraced(function*(slug: string, owner: { tenant?: string; subject?: string } = {}) {
  const key = yield* keyOf(slug, owner)
  const started = yield* (yield* Flows).start(key, { transport: "gateway", reauthorize: true })
  if (started._tag !== "Offered") return yield* Effect.die(started._tag)
  const ticket = Redacted.make(Redacted.value(started.connectUrl).split("/").at(-1)!)
  const { context } = (yield* MemoryWorld).flows.get(started.flow.id)!.authorization!
  return { ...started, key, ticket, context, owner: { id: started.flow.id, tenant: key.tenant, subject: key.subject } }
})

const holding = (secret?: string) => (_: Digest) => secret === undefined ? undefined : Redacted.make(secret)

const departed = Effect.fnUntraced(function*(ticket: Redacted.Redacted, secret: string) {
  return Option.getOrThrow(yield* (yield* Flows).depart(ticket, Redacted.make(secret))).authorizationUrl
})

const rows = Effect.map(MemoryWorld, ({ flows }) => JSON.stringify([...flows.values()]))

describe("a start that any browser may finish", () => {
  it.effect("BIND-01 hands out a page of ours with a ticket, and no URL of the provider's", () =>
    Effect.gen(function*() {
      const entropy = yield* Entropy
      const { compareCode, connectUrl, flow, ticket, ...rest } = yield* offered("mcp")
      assert.match(Redacted.value(connectUrl), /^https:\/\/valetkey\.example\/connect\/[\w-]{43}$/)
      assert.notProperty(rest, "authorizationUrl")
      assert.strictEqual(compareCode, CompareCode.ofTicket(entropy, ticket))
      const row = (yield* MemoryWorld).flows.get(flow.id)!
      assert.strictEqual(row.ticket?.ticketHash, entropy.digest(ticket))
      assert.notInclude(yield* rows, Redacted.value(ticket))
    }).pipe(Effect.provide(layer)))

  it.effect("tells who connects what with which scopes, and changes nothing by telling", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { compareCode, flow, key, ticket } = yield* offered("mcp")
      const before = yield* rows
      for (const browser of [holding(), holding("this browser")]) {
        const offer = Option.getOrThrow(yield* flows.offer(ticket, browser))
        assert.deepStrictEqual([offer.flow.id, offer.flow.key.path], [flow.id, key.path])
        assert.strictEqual(offer.flow.snapshot?.resource, "https://mcp.example/mcp")
        assert.strictEqual(offer.compareCode, compareCode)
        assert.strictEqual(offer.browser, "none")
      }
      assert.isTrue(Option.isNone(yield* flows.offer(Redacted.make("never given out"), holding())))
      assert.strictEqual(yield* rows, before)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-03 gives the way on to the first browser alone, again and again while it is pending", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { ticket } = yield* offered("mcp")
      const first = yield* departed(ticket, "one")
      assert.isTrue(Redacted.value(first).startsWith("https://as.example/authorize?"))
      const before = yield* rows
      assert.isTrue(Option.isNone(yield* flows.depart(ticket, Redacted.make("other"))))
      assert.strictEqual(yield* rows, before)
      assert.strictEqual(Redacted.value(yield* departed(ticket, "one")), Redacted.value(first))
      const seen = Effect.fnUntraced(function*(secret?: string) {
        return Option.getOrThrow(yield* flows.offer(ticket, holding(secret))).browser
      })
      assert.deepStrictEqual([yield* seen("one"), yield* seen("other"), yield* seen()], ["this", "another", "another"])
    }).pipe(Effect.provide(layer)))

  it.effect("I9 BIND-01 BIND-02 BIND-17 claims for the bound browser alone; any other request changes no row", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { context, owner, ticket } = yield* offered("mcp")
      const received = response(yield* departed(ticket, "one"))
      const before = yield* rows
      for (
        const place of [
          { context },
          { context, browser: holding() },
          { context, browser: holding("other") },
          { context: "elsewhere", browser: holding("one") }
        ]
      ) {
        assert.strictEqual((yield* Effect.flip(flows.complete(received, place))).code, "callback_unknown")
      }
      assert.strictEqual(yield* rows, before)
      assert.strictEqual((yield* Provider).exchanged.length, 0)
      const delivery = yield* flows.complete(received, { context, browser: holding("one") })
      assert.isUndefined(delivery.onward)
      assert.strictEqual((yield* delivery.settled).state, "completed")
      assert.strictEqual((yield* flows.status(owner)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-12 takes tenant and subject from the row, whoever the browser comes back as", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const connections = yield* ConnectionStore
      const one = yield* offered("mcp", { tenant: "one", subject: "ada" })
      const two = yield* offered("mcp", { tenant: "two", subject: "ada" })
      for (const { context, key, ticket } of [two, one]) {
        const received = response(yield* departed(ticket, key.tenant))
        const delivery = yield* flows.complete(received, { context, browser: holding(key.tenant) })
        assert.strictEqual((yield* delivery.settled).key.path, key.path)
      }
      const connected = yield* Effect.forEach([one, two], ({ key }) => connections.get(key))
      assert.deepStrictEqual(
        connected.map((found) => Option.getOrThrow(found).key.tenant as string),
        ["one", "two"]
      )
    }).pipe(Effect.provide(layer)))

  it.effect("ends with the flow or after ten minutes, whichever is first, and tells how a settled flow ended", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const cancelled = yield* offered("cancelled")
      const late = yield* offered("late")
      yield* flows.cancel(cancelled.owner)
      assert.isTrue(Option.isNone(yield* flows.depart(cancelled.ticket, Redacted.make("one"))))
      const offer = yield* flows.offer(cancelled.ticket, holding())
      assert.strictEqual(Option.getOrThrow(offer).flow.state, "cancelled")
      yield* TestClock.adjust("10 minutes")
      assert.isTrue(Option.isNone(yield* flows.offer(late.ticket, holding())))
      assert.isTrue(Option.isNone(yield* flows.depart(late.ticket, Redacted.make("one"))))
    }).pipe(Effect.provide(layer)))

  it.effect("keeps the ticket usable when the key is away for a moment", () =>
    Effect.gen(function*() {
      const cipher = yield* Cipher
      const { open } = cipher
      const { ticket } = yield* offered("mcp")
      Object.assign(cipher, { open: () => Effect.fail(new CipherError({ code: "encryption_key_missing" })) })
      const failed = yield* Effect.flip((yield* Flows).depart(ticket, Redacted.make("one")))
      assert.strictEqual(failed._tag, "CipherError")
      Object.assign(cipher, { open })
      assert.include(Redacted.value(yield* departed(ticket, "one")), "state=")
    }).pipe(Effect.provide(layer)))

  it.effect("forgets the URL when the flow is claimed, and when it ends", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const world = yield* MemoryWorld
      const cancelled = yield* offered("cancelled")
      assert.isDefined(world.flows.get(cancelled.flow.id)?.ticket)
      yield* flows.cancel(cancelled.owner)
      assert.isUndefined(world.flows.get(cancelled.flow.id)?.ticket)
      const { context, flow, ticket } = yield* offered("mcp")
      const received = response(yield* departed(ticket, "one"))
      yield* flows.complete(received, { context, browser: holding("one") })
      assert.isUndefined(world.flows.get(flow.id)?.ticket)
    }).pipe(Effect.provide(layer)))
})
