import { assert, describe, type Vitest } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { OnConflict } from "@valetkey/domain/Flow"
import { FlowStore, type Frozen } from "@valetkey/domain/FlowStore"
import { Effect, Fiber, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` about reservations that are made at the same time, and about those that freeze at once. */
export const cases = <R>(it: Vitest.MethodsNonLive<FlowStore | R>, options: Fixture.ContractOptions<R>): void => {
  describe("reserve at the same time", () => {
    it.effect("S1.8 gives every start what it would get alone, whoever starts beside it", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const tenant = Fixture.newTenant()
        const [rejected, joined, superseded, expired] = [0, 1, 2, 3].map(() => Fixture.newKey({ tenant }))
        yield* Fixture.reserve(expired!)
        yield* options.advance(Fixture.pastTtl)
        const running = yield* Effect.forEach([rejected!, joined!, superseded!], (key) => Fixture.reserve(key))
        const free = Array.from({ length: 20 }, () => Fixture.newKey())
        const [one, two, three, four, ...rest] = yield* Effect.all([
          Effect.flip(Fixture.reserve(rejected!)),
          Fixture.reserve(joined!, "join"),
          Fixture.reserve(superseded!, "supersede"),
          Fixture.reserve(expired!),
          ...free.map((key) => Fixture.reserve(key))
        ], { concurrency: "unbounded" })
        assert.strictEqual(one._tag === "FlowConflict" ? one.running : one._tag, running[0]!.flow.id)
        assert.deepStrictEqual([two._tag, two.flow.id], ["Joined", running[1]!.flow.id])
        assert.strictEqual(three._tag === "Reserved" ? three.superseded : three._tag, running[2]!.flow.id)
        assert.strictEqual(four._tag === "Reserved" ? four.superseded : four._tag, undefined)
        for (const [n, reservation] of rest.entries()) {
          assert.deepStrictEqual([reservation._tag, reservation.flow.key.path], ["Reserved", free[n]!.path])
          const found = yield* flows.get({ id: reservation.flow.id, ...Fixture.ownerOf(free[n]!) })
          assert.deepStrictEqual(Option.map(found, Fixture.flowView), Option.some(Fixture.flowView(reservation.flow)))
        }
      }))

    it.effect("S1.23 FLOW-23 gives each of ten slots to one of its five starts when all come at once", () =>
      Effect.gen(function*() {
        const keys = Array.from({ length: 10 }, () => Fixture.newKey())
        const results = yield* Effect.all(
          Array.from({ length: 50 }, (_, n) => Effect.result(Fixture.reserve(keys[n % 10]!))),
          { concurrency: "unbounded" }
        )
        for (const [place, key] of keys.entries()) {
          const own = results.filter((_, n) => n % 10 === place)
          const won = own.flatMap((result) => result._tag === "Success" ? [result.success.flow] : [])
          const lost = own.flatMap(({ _tag, ...result }) => "failure" in result ? [result.failure] : [])
          assert.deepStrictEqual(won.map((flow) => flow.key.path), [key.path])
          assert.deepStrictEqual(
            lost.map((error) => error._tag === "FlowConflict" ? error.running : error.code),
            Array.from({ length: 4 }, () => won[0]!.id)
          )
        }
      }))

    it.effect("goes on for the others when one caller leaves", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const keys = Array.from({ length: 5 }, () => Fixture.newKey())
        const fibers = yield* Effect.forEach(
          keys,
          (key) => Effect.forkChild(Fixture.reserve(key), { startImmediately: true })
        )
        const [leaving, ...staying] = fibers
        yield* Fiber.interrupt(leaving!)
        const reserved = yield* Effect.forEach(staying, Fiber.join)
        assert.deepStrictEqual(reserved.map(({ flow }) => flow.key.path), keys.slice(1).map(({ path }) => path))
        // The one that left may hold its slot or not; it is no other than its own.
        const left = yield* flows.latest(keys[0]!)
        if (Option.isSome(left)) yield* flows.abandon(left.value.id)
        assert.strictEqual((yield* Fixture.reserve(keys[0]!))._tag, "Reserved")
      }))
  })

  describe("reserve and freeze in one step", () => {
    const begin = Effect.fnUntraced(function*(key: ConnectionKey, frozen: Frozen, onConflict: OnConflict = "reject") {
      const flows = yield* FlowStore
      return yield* flows.reserve({
        id: Fixture.newFlowId(),
        key,
        transport: "gateway",
        confirmation: "finalize",
        onConflict,
        ttl: Fixture.ttl,
        frozen
      })
    })

    it.effect("FLOW-38 keeps what was decided, for the claim and with the flow", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const authorization = Fixture.newAuthorization()
        const { flow } = yield* begin(key, { authorization })
        assert.deepStrictEqual(flow.snapshot, authorization.snapshot)
        const found = yield* flows.get({ id: flow.id, ...Fixture.ownerOf(key) })
        assert.deepStrictEqual(Option.map(found, Fixture.flowView), Option.some(Fixture.flowView(flow)))
        const claimed = Option.getOrThrow(yield* Fixture.claimFlow(authorization))
        assert.deepStrictEqual(
          Fixture.authorizationView(claimed.authorization),
          Fixture.authorizationView(authorization)
        )
      }))

    it.effect("binds a browser by the ticket that was kept", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const ticket = { ticketHash: Fixture.newDigest(), authorizationUrl: Fixture.newSealed() }
        const authorization = Fixture.newAuthorization({ bindingHash: undefined, clientSecret: undefined })
        const { flow } = yield* begin(Fixture.newKey(), { authorization, ticket })
        const bindingHash = Fixture.newDigest()
        const bound = Option.getOrThrow(
          yield* flows.bind({ ticketHash: ticket.ticketHash, bindingHash, within: Fixture.ticketLife })
        )
        assert.strictEqual(bound.flow.id, flow.id)
        assert.strictEqual(Fixture.hex(bound.authorizationUrl), Fixture.hex(ticket.authorizationUrl))
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow({ ...authorization, bindingHash })))
      }))

    it.effect("leaves nothing of a start that lost the slot, nor of the flow that it superseded", () =>
      Effect.gen(function*() {
        const key = Fixture.newKey()
        const [first, lost, last] = [0, 1, 2].map(() => Fixture.newAuthorization())
        yield* begin(key, { authorization: first! })
        const conflict = yield* Effect.flip(begin(key, { authorization: lost! }))
        assert.strictEqual(conflict._tag, "FlowConflict")
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(lost!)))
        yield* begin(key, { authorization: last! }, "supersede")
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(first!)))
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow(last!)))
      }))

    it.effect("keeps apart what many starts at once decided, some with more of it than others", () =>
      Effect.gen(function*() {
        const all = Array.from({ length: 12 }, (_, n) =>
          Fixture.newAuthorization({
            ...n % 2 === 0 ? { clientSecret: undefined } : {},
            ...n % 3 === 0 ? { bindingHash: undefined } : {}
          }))
        yield* Effect.all([
          ...all.map((authorization) => begin(Fixture.newKey(), { authorization })),
          Fixture.reserve(Fixture.newKey())
        ], { concurrency: "unbounded" })
        for (const authorization of all) {
          const claimed = Option.getOrThrow(yield* Fixture.claimFlow(authorization))
          assert.deepStrictEqual(
            Fixture.authorizationView(claimed.authorization),
            Fixture.authorizationView(authorization)
          )
        }
      }))
  })
}
