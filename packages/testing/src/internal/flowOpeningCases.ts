import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { DateTime, Duration, Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` up to a claimed flow: reserve, freeze, claim. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("reserve and freeze", () => {
    it.effect("S4.14 S4.18 FLOW-25 has the pending flow in the store when reserve returns", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const reservation = yield* Fixture.reserve(key)
        assert.strictEqual(reservation._tag, "Reserved")
        const { flow } = reservation
        assert.strictEqual(flow.state, "pending")
        assert.strictEqual(flow.key.path, key.path)
        assert.deepStrictEqual([flow.transport, flow.confirmation], ["gateway", "finalize"])
        assert.isUndefined(flow.snapshot)
        assert.isUndefined(flow.settledAt)
        const life = DateTime.toEpochMillis(flow.expiresAt) - DateTime.toEpochMillis(flow.createdAt)
        assert.strictEqual(life, Duration.toMillis(Fixture.ttl))
        for (
          const read of [
            yield* flows.get({ id: flow.id, ...Fixture.ownerOf(key) }),
            yield* flows.latest(key)
          ]
        ) assert.deepStrictEqual(Option.map(read, Fixture.flowView), Option.some(Fixture.flowView(flow)))
      }))

    it.effect("S1.8 refuses a second start and names the running flow", () =>
      Effect.gen(function*() {
        const key = Fixture.newKey()
        const { flow } = yield* Fixture.reserve(key)
        const conflict = yield* Effect.flip(Fixture.reserve(key))
        assert.strictEqual(conflict._tag, "FlowConflict")
        assert.strictEqual(conflict._tag === "FlowConflict" ? conflict.running : undefined, flow.id)
      }))

    it.effect("S1.23 S4.16 FLOW-23 gives the slot to exactly one of twenty concurrent starts", () =>
      Effect.gen(function*() {
        const key = Fixture.newKey()
        const results = yield* Effect.all(
          Array.from({ length: 20 }, () => Effect.result(Fixture.reserve(key))),
          { concurrency: "unbounded" }
        )
        const won = results.flatMap((result) => result._tag === "Success" ? [result.success.flow.id] : [])
        const lost = results.flatMap((result) => result._tag === "Failure" ? [result.failure] : [])
        assert.strictEqual(won.length, 1)
        assert.deepStrictEqual(
          lost.map((error) => error._tag === "FlowConflict" ? error.running : undefined),
          Array.from({ length: 19 }, () => won[0])
        )
      }))

    it.effect("S1.9 S4.63 lets other servers, subjects and tenants start meanwhile", () =>
      Effect.gen(function*() {
        const key = Fixture.newKey()
        yield* Fixture.reserve(key)
        const { server, subject, tenant } = key
        for (
          const other of [
            Fixture.newKey({ tenant, subject }),
            Fixture.newKey({ tenant, server }),
            Fixture.newKey({ subject, server })
          ]
        ) assert.strictEqual((yield* Fixture.reserve(other))._tag, "Reserved")
      }))

    it.effect("S4.15 joins the running flow, however many join at once", () =>
      Effect.gen(function*() {
        const key = Fixture.newKey()
        const all = yield* Effect.all(
          Array.from({ length: 10 }, () => Fixture.reserve(key, "join")),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(all.filter((one) => one._tag === "Reserved").length, 1)
        assert.strictEqual(new Set(all.map((one) => one.flow.id)).size, 1)
      }))

    it.effect("supersedes the running flow in the same step and says which", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const first = yield* Fixture.startFlow(key)
        const second = yield* Fixture.reserve(key, "supersede")
        assert.strictEqual(second._tag === "Reserved" ? second.superseded : undefined, first.id)
        const old = yield* flows.get({ id: first.id, ...Fixture.ownerOf(key) })
        assert.strictEqual(Option.getOrThrow(old).state, "superseded")
        assert.isDefined(Option.getOrThrow(old).settledAt)
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).id, second.flow.id)
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(first.authorization)))
      }))

    it.effect("I8 keeps one open flow when ten starts supersede each other", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const all = yield* Effect.all(
          Array.from({ length: 10 }, () => Fixture.reserve(key, "supersede")),
          { concurrency: "unbounded" }
        )
        const states = yield* Effect.forEach(
          all,
          ({ flow }) => Effect.map(flows.get({ id: flow.id, ...Fixture.ownerOf(key) }), Option.getOrThrow)
        )
        assert.strictEqual(states.filter((flow) => flow.state === "pending").length, 1)
        assert.strictEqual(states.filter((flow) => flow.state === "superseded").length, 9)
      }))

    it.effect("S1.28 S1.30 FLOW-22 leaves nothing to the old run once a new one took the slot", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const old = yield* Fixture.exchangingFlow(key)
        yield* flows.cancel({ id: old.id, ...Fixture.ownerOf(key) })
        const { flow } = yield* Fixture.reserve(key)
        const late = yield* flows.complete(old.id, old.claimed.fence, Fixture.newWrite(0))
        assert.strictEqual(late._tag, "ClaimLost")
        assert.isFalse(yield* flows.fail(old.id, old.claimed.fence, "code_rejected"))
        yield* flows.abandon(old.id)
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).state, "pending")
        assert.isTrue(yield* flows.freeze(flow.id, Fixture.newAuthorization()))
      }))

    it.effect("FLOW-40 expires an open flow past its deadline before it judges a conflict", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { flow } = yield* Fixture.reserve(key)
        yield* options.advance(Fixture.pastTtl)
        const next = yield* Fixture.reserve(key)
        assert.strictEqual(next._tag, "Reserved")
        assert.isUndefined(next._tag === "Reserved" ? next.superseded : undefined)
        const old = yield* flows.get({ id: flow.id, ...Fixture.ownerOf(key) })
        assert.strictEqual(Option.getOrThrow(old).state, "expired")
      }))

    it.effect("CR-06 frees the slot of an exchange whose holder died", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const dead = yield* Fixture.exchangingFlow(key)
        yield* options.advance(Fixture.pastLease)
        assert.strictEqual((yield* Fixture.reserve(key))._tag, "Reserved")
        const old = yield* flows.get({ id: dead.id, ...Fixture.ownerOf(key) })
        assert.strictEqual(Option.getOrThrow(old).state, "outcome_unknown")
      }))

    it.effect("S1.16 S1.21 starts again over a settled flow", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const first = yield* Fixture.startFlow(key)
        yield* flows.cancel({ id: first.id, ...Fixture.ownerOf(key) })
        const second = yield* Fixture.startFlow(key)
        const latest = Option.getOrThrow(yield* flows.latest(key))
        assert.deepStrictEqual([latest.id, latest.state], [second.id, "pending"])
      }))

    it.effect("S4.17 keeps what start froze, to be read with the flow", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, id } = yield* Fixture.startFlow(key)
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.deepStrictEqual(flow.snapshot, authorization.snapshot)
      }))

    it.effect("S1.25 S1.26 freezes nothing after a cancel or past the deadline", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const cancelled = (yield* Fixture.reserve(key)).flow
        yield* flows.cancel({ id: cancelled.id, ...Fixture.ownerOf(key) })
        const authorization = Fixture.newAuthorization()
        assert.isFalse(yield* flows.freeze(cancelled.id, authorization))
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        const late = (yield* Fixture.reserve(key)).flow
        yield* options.advance(Fixture.pastTtl)
        assert.isFalse(yield* flows.freeze(late.id, authorization))
      }))
  })

  describe("claim", () => {
    it.effect("FLOW-38 gives the flow with everything that was frozen", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, id } = yield* Fixture.startFlow(key)
        const claimed = Option.getOrThrow(yield* Fixture.claimFlow(authorization))
        assert.deepStrictEqual(Fixture.claimView(claimed), {
          id,
          key: key.path,
          fence: claimed.fence,
          transport: "gateway",
          confirmation: "finalize",
          authorization: Fixture.authorizationView(authorization)
        })
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "exchanging")
      }))

    it.effect("gives back what was frozen without the optional parts", () =>
      Effect.gen(function*() {
        const { issuer, tokenEndpoint, clientId, redemptionPolicy } = Fixture.newGrant()
        const grant = { issuer, tokenEndpoint, clientId, authMethod: "none", redemptionPolicy } as const
        const { authorization } = yield* Fixture.startFlow(Fixture.newKey(), {
          grant,
          bindingHash: undefined,
          clientSecret: undefined
        })
        const claimed = Option.getOrThrow(yield* Fixture.claimFlow(authorization))
        assert.deepStrictEqual(claimed.authorization.grant, grant)
        assert.isUndefined(claimed.authorization.bindingHash)
        assert.isUndefined(claimed.authorization.clientSecret)
      }))

    it.effect("I9 FLOW-02 changes nothing for a wrong state, binding or context", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, id } = yield* Fixture.startFlow(key)
        const unbound = yield* Fixture.startFlow(Fixture.newKey(), { bindingHash: undefined })
        const read = Effect.map(flows.get({ id, ...Fixture.ownerOf(key) }), Option.map(Fixture.flowView))
        const before = yield* read
        const wrong = [
          { ...authorization, stateHash: Fixture.newDigest() },
          { ...authorization, bindingHash: Fixture.newDigest() },
          { ...authorization, bindingHash: undefined },
          { ...authorization, bindingHash: unbound.authorization.bindingHash },
          { ...authorization, context: unbound.authorization.context },
          { ...authorization, context: "" },
          { ...unbound.authorization, bindingHash: Fixture.newDigest() }
        ]
        for (const attempt of wrong) {
          assert.isTrue(Option.isNone(yield* Fixture.claimFlow(attempt)))
          assert.deepStrictEqual(yield* read, before)
        }
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow(authorization)))
        assert.isTrue(Option.isSome(yield* Fixture.claimFlow(unbound.authorization)))
      }))

    it.effect("I2 FLOW-05 gives the flow to exactly one of twenty concurrent callbacks", () =>
      Effect.gen(function*() {
        const { authorization } = yield* Fixture.startFlow(Fixture.newKey())
        const all = yield* Effect.all(
          Array.from({ length: 20 }, () => Fixture.claimFlow(authorization)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(all.filter(Option.isSome).length, 1)
      }))

    it.effect("FLOW-04 FLOW-06 S4.34 finds a finished flow by its state but gives it to nobody", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { authorization, claimed, id } = yield* Fixture.exchangingFlow(Fixture.newKey())
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        yield* flows.complete(id, claimed.fence, Fixture.newWrite(0))
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        const found = Option.getOrThrow(yield* flows.findByState(authorization.stateHash))
        assert.deepStrictEqual([found.id, found.state], [id, "completed"])
      }))

    it.effect("FLOW-19 gives nothing past the deadline, and the flow reads as expired before any sweep", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, id } = yield* Fixture.startFlow(key)
        yield* options.advance(Fixture.pastTtl)
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        for (
          const read of [
            yield* flows.get({ id, ...Fixture.ownerOf(key) }),
            yield* flows.latest(key),
            yield* flows.findByState(authorization.stateHash)
          ]
        ) assert.strictEqual(Option.getOrThrow(read).state, "expired")
      }))

    it.effect("FLOW-20 gives nothing after a cancel", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, id } = yield* Fixture.startFlow(key)
        assert.isTrue(yield* flows.cancel({ id, ...Fixture.ownerOf(key) }))
        assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "cancelled")
      }))
  })
}
