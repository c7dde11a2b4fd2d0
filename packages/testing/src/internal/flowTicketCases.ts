import { assert, describe, type Vitest } from "@effect/vitest"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` that bind a flow to a browser by its ticket. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("tickets", () => {
    it.effect("BIND-16 finds the flow of a ticket with what it froze, and changes nothing by looking", () =>
      Effect.gen(function*() {
        const { authorization, find, id, key } = yield* Fixture.ticketedFlow(Fixture.newKey())
        for (const _ of [1, 2]) {
          const { bindingHash, flow, stateHash } = Option.getOrThrow(yield* find)
          assert.deepStrictEqual([flow.id, flow.key.path, flow.state], [id, key.path, "pending"])
          assert.deepStrictEqual(flow.snapshot, authorization.snapshot)
          assert.deepStrictEqual([stateHash, bindingHash], [authorization.stateHash, undefined])
        }
      }))

    it.effect("I9 BIND-01 gives a flow with a ticket to no callback before a browser is bound", () =>
      Effect.gen(function*() {
        const { authorization, bind, find } = yield* Fixture.ticketedFlow(Fixture.newKey())
        const bindingHash = Fixture.newDigest()
        for (const wrong of [undefined, bindingHash]) {
          assert.isTrue(Option.isNone(yield* Fixture.claimFlow({ ...authorization, bindingHash: wrong })))
        }
        assert.isTrue(Option.isSome(yield* bind(bindingHash)))
        for (const wrong of [undefined, Fixture.newDigest()]) {
          assert.isTrue(Option.isNone(yield* Fixture.claimFlow({ ...authorization, bindingHash: wrong })))
        }
        assert.strictEqual(Option.getOrThrow(yield* find).flow.state, "pending")
        const claimed = Option.getOrThrow(yield* Fixture.claimFlow({ ...authorization, bindingHash }))
        assert.strictEqual(claimed.authorization.bindingHash, bindingHash)
      }))

    it.effect("BIND-03 binds the first browser alone, as often as it asks, and gives it the sealed URL", () =>
      Effect.gen(function*() {
        const { bind, find, id, ticket } = yield* Fixture.ticketedFlow(Fixture.newKey())
        const [first, second] = [Fixture.newDigest(), Fixture.newDigest()]
        for (const _ of [1, 2]) {
          const { authorizationUrl, flow } = Option.getOrThrow(yield* bind(first))
          assert.strictEqual(flow.id, id)
          assert.strictEqual(Fixture.hex(authorizationUrl), Fixture.hex(ticket.authorizationUrl))
          assert.isTrue(Option.isNone(yield* bind(second)))
          assert.strictEqual(Option.getOrThrow(yield* find).bindingHash, first)
        }
      }))

    it.effect("BIND-03 gives a ticket to exactly one of twenty concurrent browsers", () =>
      Effect.gen(function*() {
        const { authorization, bind, find } = yield* Fixture.ticketedFlow(Fixture.newKey())
        const browsers = Array.from({ length: 20 }, () => Fixture.newDigest())
        const all = yield* Effect.all(browsers.map(bind), { concurrency: "unbounded" })
        const won = browsers.filter((_, index) => Option.isSome(all[index]!))
        assert.strictEqual(won.length, 1)
        const { bindingHash } = Option.getOrThrow(yield* find)
        assert.strictEqual(bindingHash, won[0])
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow({ ...authorization, bindingHash })))
      }))

    it.effect("leads nowhere once its time is over, although the flow lives on", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { bind, find, id, key } = yield* Fixture.ticketedFlow(Fixture.newKey())
        yield* options.advance(Fixture.pastTicket)
        assert.isTrue(Option.isNone(yield* find))
        assert.isTrue(Option.isNone(yield* bind(Fixture.newDigest())))
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "pending")
      }))

    it.effect("binds nobody past the flow's deadline, after a cancel, or once it was claimed", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const within = { within: Fixture.pastTtl }
        const late = yield* Fixture.ticketedFlow(Fixture.newKey())
        const cancelled = yield* Fixture.ticketedFlow(Fixture.newKey())
        const claimed = yield* Fixture.ticketedFlow(Fixture.newKey())
        const bindingHash = Fixture.newDigest()
        yield* claimed.bind(bindingHash)
        yield* Fixture.claimFlow({ ...claimed.authorization, bindingHash })
        assert.isTrue(yield* flows.cancel({ id: cancelled.id, ...Fixture.ownerOf(cancelled.key) }))
        assert.isTrue(Option.isNone(yield* claimed.bind(bindingHash)))
        assert.isTrue(Option.isNone(yield* cancelled.bind(Fixture.newDigest())))
        assert.strictEqual(Option.getOrThrow(yield* cancelled.find).flow.state, "cancelled")
        const known = Option.getOrThrow(yield* claimed.find)
        assert.deepStrictEqual([known.flow.state, known.bindingHash], ["exchanging", bindingHash])
        yield* options.advance(Fixture.ttl)
        const { ticketHash } = late.ticket
        assert.isTrue(Option.isNone(yield* flows.bind({ ticketHash, bindingHash: Fixture.newDigest(), ...within })))
        assert.strictEqual(
          Option.getOrThrow(yield* flows.findByTicket({ ticketHash, ...within })).flow.state,
          "expired"
        )
      }))

    it.effect("takes nothing for a ticket that was never given out", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { authorization, find } = yield* Fixture.ticketedFlow(Fixture.newKey())
        const unknown = { ticketHash: authorization.stateHash, within: Fixture.ticketLife }
        assert.isTrue(Option.isNone(yield* flows.findByTicket(unknown)))
        assert.isTrue(Option.isNone(yield* flows.bind({ ...unknown, bindingHash: Fixture.newDigest() })))
        assert.isUndefined(Option.getOrThrow(yield* find).bindingHash)
      }))
  })
}
