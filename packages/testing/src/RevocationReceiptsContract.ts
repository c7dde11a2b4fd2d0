import { assert, describe, it, type Vitest } from "@effect/vitest"
import { type ConnectionKey, sealContext } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { forgettingOf, type OwedRevocation, RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { ReceiptId, type RevocationReceipt } from "@valetkey/domain/RevocationReceipt"
import { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import type { ServerSlug } from "@valetkey/domain/Server"
import { DateTime, Duration, Effect, type Layer, Option } from "effect"
import { createHash, randomUUID } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

type Ports = RevocationReceipts | RevocationOutbox | ConnectionStore

/** Runs the contract of `RevocationReceipts` on a layer; receipts are made through the other ports of the same layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<Ports | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(
    `RevocationReceipts (${name})`,
    () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options))
  )
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<Ports | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("tells of a disconnect from its first moment: pending, and when the access token ends", () =>
    Effect.gen(function*() {
      const key = Fixture.newKey()
      const connections = yield* ConnectionStore
      yield* connections.deposit(key, Fixture.newWrite(0))
      assert.deepStrictEqual(yield* listed(key), [])
      yield* connections.disconnect(key, Fixture.newEpoch())
      const [receipt, ...others] = yield* listed(key)
      assert.deepStrictEqual(others, [])
      assert.deepStrictEqual(view(receipt!), {
        cause: "disconnect",
        attempts: 0,
        accessToken: "pending",
        refreshToken: "pending",
        accessTokenExpiresAt: Fixture.newCredentials().expiresAt
      })
      assert.isDefined(receipt!.nextAttemptAt)
      yield* connections.disconnect(key, Fixture.newEpoch())
      assert.deepStrictEqual(yield* listed(key), [receipt!])
    }))

  it.effect("keeps what every attempt brought, and the end", () =>
    Effect.gen(function*() {
      const outbox = yield* RevocationOutbox
      const owed = newOwed()
      yield* outbox.enqueue(owed)
      const before = yield* receiptOf(owed)
      assert.deepStrictEqual(view(before), {
        cause: "late_result",
        attempts: 0,
        accessToken: "pending",
        refreshToken: "pending"
      })
      yield* takeAll
      yield* outbox.retry(owed.id, Duration.minutes(30), {
        accessToken: "pending",
        refreshToken: "confirmed",
        error: "revocation_unavailable"
      })
      const retried = yield* receiptOf(owed)
      assert.deepStrictEqual(view(retried), {
        cause: "late_result",
        attempts: 1,
        accessToken: "pending",
        refreshToken: "confirmed",
        error: "revocation_unavailable"
      })
      const pause = DateTime.distance(before.createdAt, retried.nextAttemptAt!)
      assert.isTrue(Duration.isGreaterThanOrEqualTo(pause, Duration.minutes(30)))
      assert.isTrue(Duration.isLessThan(pause, Duration.minutes(40)))
      yield* options.advance(Duration.minutes(31))
      yield* takeAll
      // What is void does not come back to life because a repetition went wrong.
      yield* outbox.settle(owed.id, { accessToken: "unsupported", refreshToken: "given_up" })
      const settled = yield* receiptOf(owed)
      assert.deepStrictEqual(view(settled), {
        cause: "late_result",
        attempts: 2,
        accessToken: "unsupported",
        refreshToken: "confirmed"
      })
      assert.isDefined(settled.settledAt)
      assert.isUndefined(settled.nextAttemptAt)
      yield* outbox.settle(owed.id, { accessToken: "confirmed" })
      yield* outbox.retry(owed.id, Duration.zero)
      assert.deepStrictEqual(yield* receiptOf(owed), settled)
    }))

  it.effect("gives up what is pending at the end, and knows nothing of a token that never was", () =>
    Effect.gen(function*() {
      const outbox = yield* RevocationOutbox
      const { refreshToken: _, ...owed } = newOwed()
      yield* outbox.enqueue(owed)
      yield* takeAll
      yield* outbox.retry(owed.id, Duration.zero, { accessToken: "pending", error: "revocation_refused" })
      yield* outbox.settle(owed.id)
      const settled = yield* receiptOf(owed)
      assert.deepStrictEqual(view(settled), {
        cause: "late_result",
        attempts: 1,
        accessToken: "given_up",
        error: "revocation_refused"
      })
    }))

  it.effect("I10 gives a receipt to its owner alone", () =>
    Effect.gen(function*() {
      const receipts = yield* RevocationReceipts
      const mine = newOwed()
      const others = [
        newOwed(Fixture.newKey({ server: mine.key.server })),
        newOwed(Fixture.newKey({ tenant: mine.key.tenant, server: mine.key.server })),
        newOwed(Fixture.newKey({ subject: mine.key.subject, server: mine.key.server }))
      ]
      yield* Effect.forEach([mine, ...others], (owed) => Effect.flatMap(RevocationOutbox, (all) => all.enqueue(owed)))
      const { id } = yield* receiptOf(mine)
      assert.deepStrictEqual((yield* listed(mine.key)).map((one) => one.id), [id])
      for (const { key } of others) {
        assert.isTrue(Option.isNone(yield* receipts.get({ ...Fixture.ownerOf(key), id })))
        assert.notInclude((yield* listed(key)).map((one) => one.id), id)
        assert.deepStrictEqual(yield* listed(key, { after: id }), [])
      }
    }))

  it.effect("gives pages, newest first, of all servers or of one", () =>
    Effect.gen(function*() {
      const owner = Fixture.newKey()
      const ids = new Array<ReceiptId>()
      for (const server of ["a", "b", "a", "b", "a"]) {
        const owed = newOwed(Fixture.newKey({ ...Fixture.ownerOf(owner), server }))
        yield* (yield* RevocationOutbox).enqueue(owed)
        ids.unshift((yield* receiptOf(owed)).id)
        yield* options.advance(Duration.seconds(1))
      }
      const page = (input: Page) => Effect.map(listed(owner, input), (found) => found.map(({ id }) => id))
      assert.deepStrictEqual(yield* page({}), ids)
      assert.deepStrictEqual(yield* page({ limit: 2 }), ids.slice(0, 2))
      assert.deepStrictEqual(yield* page({ after: ids[1], limit: 2 }), ids.slice(2, 4))
      assert.deepStrictEqual(yield* page({ after: ids[4] }), [])
      assert.deepStrictEqual(yield* page({ server: "a" }), [ids[0], ids[2], ids[4]])
      assert.deepStrictEqual(yield* page({ server: "a", after: ids[0], limit: 1 }), [ids[2]])
      assert.deepStrictEqual(yield* page({ server: "c" }), [])
    }))

  it.effect("marks the life of a connection that was forgotten, for its owner and for a time, and lists no such mark", () =>
    Effect.gen(function*() {
      const receipts = yield* RevocationReceipts
      const connections = yield* ConnectionStore
      const key = Fixture.newKey()
      const life = Fixture.newWrite(0)
      const next = Fixture.newWrite(0)
      yield* connections.deposit(key, life)
      const generation = Fixture.generation(1)
      // What was not forgotten is not marked.
      assert.isFalse(yield* connections.forget(key, { generation: Fixture.generation(2), epoch: life.epoch }))
      assert.isFalse(yield* receipts.isForgotten(key, life.epoch))
      assert.isTrue(yield* connections.forget(key, { generation, epoch: life.epoch }))
      yield* connections.deposit(key, next)
      yield* connections.disconnect(key, Fixture.newEpoch())
      const others = [
        Fixture.newKey(),
        Fixture.newKey({ tenant: key.tenant, server: key.server }),
        Fixture.newKey({ ...Fixture.ownerOf(key) })
      ]
      const marked = yield* Effect.forEach([key, ...others], (one) => receipts.isForgotten(one, life.epoch))
      assert.deepStrictEqual(marked, [true, false, false, false])
      assert.isFalse(yield* receipts.isForgotten(key, next.epoch))
      const id = ReceiptId.make(createHash("sha256").update(forgettingOf(key, life.epoch)).digest("base64url"))
      assert.isTrue(Option.isNone(yield* receipts.get({ ...Fixture.ownerOf(key), id })))
      assert.deepStrictEqual((yield* listed(key)).map(({ cause }) => cause), ["disconnect"])
      const sweep = receipts.sweep({ olderThan: Duration.days(30), limit: 2 })
      yield* options.advance(Duration.days(29))
      while ((yield* sweep) > 0) yield* Effect.yieldNow
      assert.isTrue(yield* receipts.isForgotten(key, life.epoch))
      yield* options.advance(Duration.days(2))
      while ((yield* sweep) > 0) yield* Effect.yieldNow
      assert.isFalse(yield* receipts.isForgotten(key, life.epoch))
    }))

  it.effect("forgets what was settled long ago, never what is still owed", () =>
    Effect.gen(function*() {
      const receipts = yield* RevocationReceipts
      const outbox = yield* RevocationOutbox
      const key = Fixture.newKey()
      const [old, owed, fresh] = [newOwed(key), newOwed(key), newOwed(key)]
      for (const one of [old, owed, fresh]) yield* outbox.enqueue(one)
      yield* outbox.settle(old.id)
      yield* options.advance(Duration.days(31))
      yield* outbox.settle(fresh.id)
      const sweep = receipts.sweep({ olderThan: Duration.days(30), limit: 2 })
      while ((yield* sweep) > 0) yield* Effect.yieldNow
      const left = (yield* listed(key)).map(({ id }) => id)
      assert.sameMembers(left, [idOf(owed), idOf(fresh)])
    }))
}

interface Page {
  readonly server?: string
  readonly after?: ReceiptId | undefined
  readonly limit?: number
}

const listed = (key: ConnectionKey, page: Page = {}) =>
  Effect.flatMap(RevocationReceipts, (receipts) =>
    receipts.list({
      ...Fixture.ownerOf(key),
      server: page.server as ServerSlug | undefined,
      after: page.after,
      limit: page.limit ?? 10
    }))

const idOf = ({ id }: OwedRevocation): ReceiptId => ReceiptId.make(createHash("sha256").update(id).digest("base64url"))

const receiptOf = (owed: OwedRevocation) =>
  Effect.flatMap(RevocationReceipts, (receipts) =>
    Effect.map(
      receipts.get({ ...Fixture.ownerOf(owed.key), id: idOf(owed) }),
      (found) => Option.getOrThrowWith(found, () => new Error("no receipt"))
    ))

/** Counts an attempt of everything that is due. */
const takeAll = Effect.flatMap(RevocationOutbox, (outbox) => outbox.take({ limit: 1000, lease: Duration.zero }))

const newOwed = (key = Fixture.newKey()): OwedRevocation => {
  const epoch = Fixture.newEpoch()
  return {
    id: randomUUID(),
    key,
    grant: Fixture.newGrant(),
    accessToken: { sealed: Fixture.newSealed(), context: sealContext(key, epoch, "access_token", 1) },
    refreshToken: { sealed: Fixture.newSealed(), context: sealContext(key, epoch, "refresh_token", 1) }
  }
}

const view = (
  { createdAt: _, id: __, key: ___, nextAttemptAt: ____, settledAt: _____, ...rest }: RevocationReceipt
) => rest
