import { assert, describe, it, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { DateTime, Duration, Effect, type Layer, Option } from "effect"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `FlowStore` on a layer; completing is observed through the `ConnectionStore` of the same layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<FlowStore | ConnectionStore | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`FlowStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
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

    it.effect("S1.22 S1.23 S4.16 FLOW-23 gives the slot to exactly one of twenty concurrent starts", () =>
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

    it.effect("FLOW-38 keeps what start froze, to be read with the flow", () =>
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
    it.effect("S2.6 FLOW-26 gives the flow with everything that was frozen", () =>
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

    it.effect("I9 FLOW-02 FLOW-12 changes nothing for a wrong state, binding or context", () =>
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

  describe("hold and resume", () => {
    it.effect("gives the held code back once, to one of ten concurrent finalizers", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { authorization, claimed, id } = yield* Fixture.exchangingFlow(key)
        const code = Fixture.newSealed()
        assert.isFalse(yield* flows.hold(id, claimed.fence + 1, code))
        assert.isTrue(yield* flows.hold(id, claimed.fence, code))
        assert.isFalse(yield* flows.hold(id, claimed.fence, code))
        const held = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(held.state, "awaiting_finalize")
        const input = { id, ...Fixture.ownerOf(key), lease: Fixture.lease }
        const all = yield* Effect.all(
          Array.from({ length: 10 }, () => flows.resume(input)),
          { concurrency: "unbounded" }
        )
        const won = all.flatMap(Option.toArray)
        assert.strictEqual(won.length, 1)
        const resumed = won[0]!
        assert.strictEqual(Fixture.hex(resumed.code), Fixture.hex(code))
        assert.isAbove(resumed.flow.fence, claimed.fence)
        assert.deepStrictEqual(
          Fixture.authorizationView(resumed.flow.authorization),
          Fixture.authorizationView(authorization)
        )
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
        assert.strictEqual((yield* flows.complete(id, resumed.flow.fence, Fixture.newWrite(0)))._tag, "Completed")
      }))

    it.effect("I10 gives a held flow to its owner alone", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        yield* flows.hold(id, claimed.fence, Fixture.newSealed())
        const { subject, tenant } = Fixture.newKey()
        for (const owner of [{ tenant: key.tenant, subject }, { tenant, subject: key.subject }]) {
          assert.isTrue(Option.isNone(yield* flows.resume({ id, ...owner, lease: Fixture.lease })))
        }
        const resumed = yield* flows.resume({ id, ...Fixture.ownerOf(key), lease: Fixture.lease })
        assert.isTrue(Option.isSome(resumed))
      }))

    it.effect("expires a held flow that nobody finalizes", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        yield* flows.hold(id, claimed.fence, Fixture.newSealed())
        yield* options.advance(Fixture.pastTtl)
        const resumed = yield* flows.resume({ id, ...Fixture.ownerOf(key), lease: Fixture.lease })
        assert.isTrue(Option.isNone(resumed))
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "expired")
      }))
  })

  describe("settle", () => {
    it.effect("S1.6 S4.28 S4.35 stores flow and connection in one step", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        const write = Fixture.newWrite(0)
        assert.strictEqual((yield* flows.complete(id, claimed.fence, write))._tag, "Completed")
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "completed")
        assert.isDefined(flow.settledAt)
        assert.isDefined(flow.snapshot)
        const connection = Option.getOrThrow(yield* connections.get(key))
        assert.strictEqual(connection.key.path, key.path)
        assert.strictEqual(connection.epoch, write.epoch)
        assert.strictEqual(connection.generation, Fixture.generation(1))
        assert.strictEqual(connection.status._tag, "active")
        assert.isFalse(connection.rejected)
        assert.deepStrictEqual(connection.grant, write.grant)
        assert.strictEqual(
          connection.clientSecret && Fixture.hex(connection.clientSecret),
          Fixture.hex(write.clientSecret)
        )
        assert.deepStrictEqual(
          Fixture.credentialsView(connection.credentials),
          Fixture.credentialsView(write.credentials)
        )
      }))

    it.effect("I4 stores nothing when the generation moved, and lets the same claim complete over the new one", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        yield* connections.deposit(key, Fixture.newWrite(0))
        const read = Effect.map(connections.get(key), Option.map(Fixture.connectionView))
        const before = yield* read
        const moved = yield* flows.complete(id, claimed.fence, Fixture.newWrite(0))
        assert.deepStrictEqual(moved, { _tag: "GenerationMoved", current: 1 })
        assert.deepStrictEqual(yield* read, before)
        const open = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(open.state, "exchanging")
        const write = Fixture.newWrite(1)
        assert.strictEqual((yield* flows.complete(id, claimed.fence, write))._tag, "Completed")
        const connection = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual([connection.generation, connection.epoch], [Fixture.generation(2), write.epoch])
      }))

    it.effect("S1.27 S1.29 S1.31 FLOW-21 stores nothing when the flow was cancelled during the exchange", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        assert.isTrue(yield* flows.cancel({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        const flow = Option.getOrThrow(yield* flows.get({ id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(flow.state, "cancelled")
      }))

    it.effect("stores nothing for a fence that is not the claim's", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        for (const fence of [claimed.fence - 1, claimed.fence + 1]) {
          assert.strictEqual((yield* flows.complete(id, fence, Fixture.newWrite(0)))._tag, "ClaimLost")
          assert.isFalse(yield* flows.fail(id, fence, "code_rejected"))
        }
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "Completed")
      }))

    it.effect("completes once when completions race", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        const all = yield* Effect.all(
          Array.from({ length: 8 }, () => flows.complete(id, claimed.fence, Fixture.newWrite(0))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(all.filter((one) => one._tag === "Completed").length, 1)
        assert.strictEqual(all.filter((one) => one._tag === "ClaimLost").length, 7)
        assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).generation, Fixture.generation(1))
      }))

    it.effect("completes an exchange that outlived its lease while nobody settled it", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { claimed, id } = yield* Fixture.exchangingFlow(Fixture.newKey())
        yield* options.advance(Fixture.pastLease)
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "Completed")
      }))

    it.effect("S1.11 FLOW-13 records why a claimed flow failed", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const failed = yield* Fixture.exchangingFlow(key)
        assert.isTrue(yield* flows.fail(failed.id, failed.claimed.fence, "access_denied"))
        const read = Option.getOrThrow(yield* flows.latest(key))
        assert.deepStrictEqual([read.state, read.failure], ["failed", "access_denied"])
        assert.isDefined(read.settledAt)
        const unknown = yield* Fixture.exchangingFlow(key)
        assert.isTrue(yield* flows.fail(unknown.id, unknown.claimed.fence, "outcome_unknown"))
        const next = Option.getOrThrow(yield* flows.latest(key))
        assert.deepStrictEqual([next.id, next.state, next.failure], [unknown.id, "outcome_unknown", undefined])
        assert.isTrue(Option.isNone(yield* connections.get(key)))
      }))

    it.effect("S1.24 frees the slot of a start that could not finish", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { flow } = yield* Fixture.reserve(key)
        yield* flows.abandon(flow.id)
        const read = Option.getOrThrow(yield* flows.latest(key))
        assert.deepStrictEqual([read.state, read.failure], ["failed", "start_failed"])
        assert.strictEqual((yield* Fixture.reserve(key))._tag, "Reserved")
      }))

    it.effect("S1.15 S4.40 FLOW-39 I8 never changes a terminal flow", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const settle = [
          (id, fence) => flows.complete(id, fence, Fixture.newWrite(0)),
          (id, fence) => flows.fail(id, fence, "code_rejected"),
          (id, fence) => flows.fail(id, fence, "outcome_unknown"),
          (id, _, key) => flows.cancel({ id, ...Fixture.ownerOf(key) }),
          (_id, _, key) => Fixture.reserve(key, "supersede")
        ] satisfies ReadonlyArray<
          (
            id: ReturnType<typeof Fixture.newFlowId>,
            fence: number,
            key: ReturnType<typeof Fixture.newKey>
          ) => Effect.Effect<unknown, unknown, FlowStore>
        >
        for (const end of settle) {
          const key = Fixture.newKey()
          const { authorization, claimed, id } = yield* Fixture.exchangingFlow(key)
          yield* end(id, claimed.fence, key)
          const read = Effect.map(flows.get({ id, ...Fixture.ownerOf(key) }), Option.map(Fixture.flowView))
          const before = yield* read
          assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
          assert.isFalse(yield* flows.fail(id, claimed.fence, "storage_failed"))
          assert.isFalse(yield* flows.hold(id, claimed.fence, Fixture.newSealed()))
          assert.isFalse(yield* flows.freeze(id, Fixture.newAuthorization()))
          assert.isFalse(yield* flows.cancel({ id, ...Fixture.ownerOf(key) }))
          assert.isTrue(
            Option.isNone(yield* flows.resume({ id, ...Fixture.ownerOf(key), lease: Fixture.lease }))
          )
          assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
          yield* flows.abandon(id)
          yield* options.advance(Fixture.pastTtl)
          assert.deepStrictEqual(yield* read, before)
        }
      }))

    it.effect("S1.20 FLOW-24 I10 lets nobody but the owner see or cancel a flow", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const { flow } = yield* Fixture.reserve(key)
        const { subject, tenant } = Fixture.newKey()
        for (const owner of [{ tenant: key.tenant, subject }, { tenant, subject: key.subject }]) {
          assert.isTrue(Option.isNone(yield* flows.get({ id: flow.id, ...owner })))
          assert.isFalse(yield* flows.cancel({ id: flow.id, ...owner }))
        }
        const read = Option.getOrThrow(yield* flows.get({ id: flow.id, ...Fixture.ownerOf(key) }))
        assert.strictEqual(read.state, "pending")
        assert.isTrue(yield* flows.cancel({ id: flow.id, ...Fixture.ownerOf(key) }))
        assert.isFalse(yield* flows.cancel({ id: flow.id, ...Fixture.ownerOf(key) }))
      }))

    it.effect("S1.14 S4.33 S4.39 S4.42 knows nothing of an unknown flow and creates none", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const id = Fixture.newFlowId()
        const owned = { id, ...Fixture.ownerOf(key) }
        assert.isFalse(yield* flows.freeze(id, Fixture.newAuthorization()))
        assert.isFalse(yield* flows.hold(id, 1, Fixture.newSealed()))
        assert.isTrue(Option.isNone(yield* flows.resume({ ...owned, lease: Fixture.lease })))
        assert.strictEqual((yield* flows.complete(id, 1, Fixture.newWrite(0)))._tag, "ClaimLost")
        assert.isFalse(yield* flows.fail(id, 1, "code_rejected"))
        yield* flows.abandon(id)
        assert.isFalse(yield* flows.cancel(owned))
        assert.isTrue(Option.isNone(yield* flows.get(owned)))
        assert.isTrue(Option.isNone(yield* flows.latest(key)))
        assert.isTrue(Option.isNone(yield* flows.findByState(Fixture.newDigest())))
      }))
  })

  describe("sweep", () => {
    // A sweep sees the flows of every case before it, so each case begins by settling those.
    const drain = Effect.flatMap(FlowStore, (flows) =>
      flows.sweep({ retention: Duration.days(9999), limit: 100 }).pipe(
        Effect.repeat({ until: (settled) => settled.length === 0 })
      ))
    const retention = Duration.hours(1)

    it.effect("S2.20 I7 CR-07 settles what is overdue, once, and says which", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const exchanging = yield* Fixture.exchangingFlow(Fixture.newKey())
        const pending = yield* Fixture.startFlow(Fixture.newKey())
        const held = yield* Fixture.exchangingFlow(Fixture.newKey())
        yield* flows.hold(held.id, held.claimed.fence, Fixture.newSealed())
        yield* options.advance(Fixture.pastTtl)
        yield* drain
        const young = yield* Fixture.startFlow(Fixture.newKey())
        const stateOf = (flow: { readonly id: typeof young.id; readonly key: typeof young.key }) =>
          Effect.map(
            flows.get({ id: flow.id, ...Fixture.ownerOf(flow.key) }),
            (read) => Option.getOrThrow(read).state
          )
        assert.strictEqual(yield* stateOf(exchanging), "outcome_unknown")
        assert.strictEqual(yield* stateOf(pending), "expired")
        assert.strictEqual(yield* stateOf(held), "expired")
        const late = yield* Fixture.exchangingFlow(Fixture.newKey())
        assert.deepStrictEqual(yield* flows.sweep({ retention, limit: 100 }), [])
        yield* options.advance(Fixture.pastLease)
        assert.deepStrictEqual(yield* flows.sweep({ retention, limit: 100 }), [late.id])
        assert.deepStrictEqual(yield* flows.sweep({ retention, limit: 100 }), [])
        assert.strictEqual(yield* stateOf(young), "pending")
        assert.strictEqual((yield* flows.complete(late.id, late.claimed.fence, Fixture.newWrite(0)))._tag, "ClaimLost")
      }))

    it.effect("DB-16 settles no more than the limit, and concurrent sweeps share the work", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        yield* options.advance(Fixture.pastTtl)
        yield* drain
        const started = yield* Effect.forEach(
          Array.from({ length: 9 }),
          () => Effect.map(Fixture.reserve(Fixture.newKey()), ({ flow }) => flow.id)
        )
        yield* options.advance(Fixture.pastTtl)
        const first = yield* flows.sweep({ retention, limit: 2 })
        assert.strictEqual(first.length, 2)
        const rest = yield* Effect.all(
          Array.from({ length: 4 }, () => flows.sweep({ retention, limit: 3 })),
          { concurrency: "unbounded" }
        )
        for (const part of rest) assert.isAtMost(part.length, 3)
        const last = yield* flows.sweep({ retention, limit: 100 })
        const all = [...first, ...rest.flat(), ...last]
        assert.deepStrictEqual([...all].sort(), [...started].sort())
      }))

    it.effect("I18 S4.38 deletes old terminal flows and keeps the newest of each connection", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const key = Fixture.newKey()
        const settled = yield* Effect.forEach(Array.from({ length: 3 }), () =>
          Effect.gen(function*() {
            const flow = yield* Fixture.startFlow(key)
            yield* flows.cancel({ id: flow.id, ...Fixture.ownerOf(key) })
            return flow
          }))
        const [oldest, middle, newest] = settled
        const exists = (flow: typeof oldest) =>
          Effect.map(flows.get({ id: flow!.id, ...Fixture.ownerOf(key) }), Option.isSome)
        yield* flows.sweep({ retention, limit: 1000 })
        assert.isTrue(yield* exists(oldest))
        yield* options.advance(Duration.minutes(61))
        while (yield* exists(oldest)) yield* flows.sweep({ retention, limit: 1000 })
        yield* flows.sweep({ retention, limit: 1000 })
        assert.isFalse(yield* exists(middle))
        assert.isTrue(yield* exists(newest))
        assert.isTrue(Option.isNone(yield* flows.findByState(oldest!.authorization.stateHash)))
        assert.strictEqual(Option.getOrThrow(yield* flows.latest(key)).id, newest!.id)
      }))
  })
}
