import { assert, describe, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Effect, Option } from "effect"
import * as Fixture from "./contractFixtures.ts"

/** The cases of `FlowStore` about how a flow ends: complete, fail, abandon, cancel. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<FlowStore | ConnectionStore | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("settle", () => {
    it.effect("S1.6 S4.35 stores flow and connection in one step", () =>
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

    it.effect("S4x.5 ends in one terminal state when completing and failing race", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        for (const order of ["complete first", "fail first"]) {
          const key = Fixture.newKey()
          const { claimed, id } = yield* Fixture.exchangingFlow(key)
          const complete = Effect.map(
            flows.complete(id, claimed.fence, Fixture.newWrite(0)),
            ({ _tag }) => _tag === "Completed"
          )
          // Who failed it is told so again; who completed it looks whose connection there is.
          const fail = flows.fail(id, claimed.fence, "code_rejected")
          const steps = order === "complete first" ? [complete, fail] : [fail, complete]
          const won = yield* Effect.all([...steps, ...steps], { concurrency: "unbounded" })
          const winners = won.map((one, index) => one ? steps[index % 2] : undefined).filter((one) => one !== undefined)
          assert.strictEqual(new Set(winners).size, 1)
          const flow = Option.getOrThrow(yield* flows.latest(key))
          const written = Option.isSome(yield* connections.get(key))
          assert.strictEqual(flow.state, written ? "completed" : "failed")
          assert.strictEqual(flow.failure, written ? undefined : "code_rejected")
        }
      }))

    it.effect("completes an exchange that outlived its lease while nobody settled it", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const { claimed, id } = yield* Fixture.exchangingFlow(Fixture.newKey())
        yield* options.advance(Fixture.pastLease)
        assert.strictEqual((yield* flows.complete(id, claimed.fence, Fixture.newWrite(0)))._tag, "Completed")
      }))

    it.effect("records why a claimed flow failed", () =>
      Effect.gen(function*() {
        const flows = yield* FlowStore
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const failed = yield* Fixture.exchangingFlow(key)
        assert.isTrue(yield* flows.fail(failed.id, failed.claimed.fence, "access_denied"))
        const read = Option.getOrThrow(yield* flows.latest(key))
        assert.deepStrictEqual([read.state, read.failure], ["failed", "access_denied"])
        // Whoever was not told of its commit asks again.
        assert.isTrue(yield* flows.fail(failed.id, failed.claimed.fence, "access_denied"))
        assert.isFalse(yield* flows.fail(failed.id, failed.claimed.fence, "code_rejected"))
        assert.isFalse(yield* flows.fail(failed.id, failed.claimed.fence - 1, "access_denied"))
        assert.deepStrictEqual(
          Option.map(yield* flows.latest(key), Fixture.flowView),
          Option.some(Fixture.flowView(read))
        )
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

    it.effect("S1.15 S4.40 S4x.4 FLOW-39 I8 never changes a terminal flow", () =>
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
          assert.isFalse(yield* flows.hold(id, claimed.fence, Fixture.newHeld()))
          assert.isFalse(yield* flows.freeze(id, Fixture.newAuthorization()))
          assert.isFalse(yield* flows.cancel({ id, ...Fixture.ownerOf(key) }))
          assert.isTrue(
            Option.isNone(
              yield* flows.resume({
                id,
                ...Fixture.ownerOf(key),
                completionHash: Fixture.newDigest(),
                lease: Fixture.lease
              })
            )
          )
          assert.isTrue(Option.isNone(yield* Fixture.claimFlow(authorization)))
          yield* flows.abandon(id)
          yield* options.advance(Fixture.pastTtl)
          assert.deepStrictEqual(yield* read, before)
        }
      }))

    it.effect("I10 lets nobody but the owner see or cancel a flow", () =>
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
        assert.isFalse(yield* flows.hold(id, 1, Fixture.newHeld()))
        const [completionHash, ticketHash] = [Fixture.newDigest(), Fixture.newDigest()]
        assert.isTrue(Option.isNone(yield* flows.resume({ ...owned, completionHash, lease: Fixture.lease })))
        const ticket = { ticketHash, within: Fixture.ticketLife }
        assert.isTrue(Option.isNone(yield* flows.findByTicket(ticket)))
        assert.isTrue(Option.isNone(yield* flows.bind({ ...ticket, bindingHash: Fixture.newDigest() })))
        assert.strictEqual((yield* flows.complete(id, 1, Fixture.newWrite(0)))._tag, "ClaimLost")
        assert.isFalse(yield* flows.fail(id, 1, "code_rejected"))
        yield* flows.abandon(id)
        assert.isFalse(yield* flows.cancel(owned))
        assert.isTrue(Option.isNone(yield* flows.get(owned)))
        assert.isTrue(Option.isNone(yield* flows.latest(key)))
        assert.isTrue(Option.isNone(yield* flows.findByState(Fixture.newDigest())))
      }))
  })
}
