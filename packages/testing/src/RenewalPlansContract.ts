import { assert, type Vitest } from "@effect/vitest"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import { type DueConnection, RenewalPlans, soon } from "@valetkey/domain/RenewalPlans"
import { DateTime, Duration, Effect, Option } from "effect"
import { claimed, commit, connected, fail, markSent, redeem } from "./internal/connectionSteps.ts"
import * as Fixture from "./internal/contractFixtures.ts"

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RenewalPlans | R>,
  options: Fixture.ContractOptions<R>
): void => {
  it.effect("REF-21 has what was written looked at soon, with everything that is stored, and not before", () =>
    Effect.gen(function*() {
      const { epoch, key } = yield* connected
      assert.isUndefined(yield* takeOf(key))
      assert.isBelow(Duration.toMillis(Option.getOrThrow(yield* nextDue)), Duration.toMillis(soon) + 1)
      yield* options.advance(Duration.sum(soon, Duration.seconds(1)))
      assert.strictEqual(Duration.toMillis(Option.getOrThrow(yield* nextDue)), 0)
      const due = yield* takeOf(key)
      assert.deepStrictEqual([due?.connection.epoch, due?.told], [epoch, undefined])
      const connections = yield* ConnectionStore
      assert.deepStrictEqual(
        Fixture.connectionView(due!.connection),
        Fixture.connectionView(Option.getOrThrow(yield* connections.get(key)))
      )
    }))

  it.effect("REF-21 gives a due connection to one of twenty concurrent takers, and to another when its lease is over", () =>
    Effect.gen(function*() {
      const { key } = yield* due(options)
      const all = yield* Effect.all(Array.from({ length: 20 }, () => takeAll()), { concurrency: "unbounded" })
      assert.strictEqual(all.flat().filter(of(key)).length, 1)
      assert.isUndefined(yield* takeOf(key))
      yield* options.advance(Fixture.pastLease)
      assert.isDefined(yield* takeOf(key))
    }))

  it.effect("REF-21 gives every due connection to one of two takers that take in turns of few", () =>
    Effect.gen(function*() {
      const plans = yield* RenewalPlans
      yield* drain(options)
      const tenant = Fixture.newTenant()
      const keys = yield* Effect.forEach(
        Array.from({ length: 23 }),
        () => Effect.map(deposited({ tenant }), ({ key }) => key.path)
      )
      yield* options.advance(Duration.sum(soon, Duration.seconds(1)))
      const taker = Effect.gen(function*() {
        const taken: Array<string> = []
        while (true) {
          const some = yield* plans.take({ limit: 2, lease: Fixture.lease })
          if (some.length === 0) return taken
          taken.push(...some.map(({ connection }) => connection.key.path))
          yield* Effect.yieldNow
        }
      })
      const [one, other] = yield* Effect.all([taker, taker], { concurrency: 2 })
      const taken = [...one, ...other].filter((path) => keys.includes(path))
      assert.deepStrictEqual(taken.sort(), keys.sort())
      // Who found what was left locked by the other ends early; the rest of it was the other's.
      assert.isAbove(Math.min(one.length, other.length), 0)
    }))

  it.effect("REF-21 takes the longest due connection of each tenant before the second of any", () =>
    Effect.gen(function*() {
      yield* drain(options)
      const plans = yield* RenewalPlans
      const loud = Fixture.newTenant()
      yield* Effect.forEach(Array.from({ length: 12 }), () => deposited({ tenant: loud }), { discard: true })
      yield* options.advance(Duration.seconds(10))
      const quiet = [Fixture.newTenant(), Fixture.newTenant()]
      yield* Effect.forEach(quiet, (tenant) => deposited({ tenant }), { discard: true })
      yield* options.advance(Duration.sum(soon, Duration.seconds(1)))
      const taken = yield* plans.take({ limit: 4, lease: Fixture.lease })
      const count = (tenant: string) => taken.filter(({ connection }) => connection.key.tenant === tenant).length
      assert.deepStrictEqual([count(loud), ...quiet.map(count)], [2, 1, 1])
    }))

  it.effect("REF-21 looks again when it was planned, and never at what was planned for never, until it is written", () =>
    Effect.gen(function*() {
      const plans = yield* RenewalPlans
      const { epoch, key } = yield* due(options)
      const generation = (yield* takeOf(key))!.connection.generation
      assert.strictEqual(yield* plans.plan([{ key, epoch, generation, after: Duration.minutes(30) }]), 1)
      yield* options.advance(Duration.minutes(29))
      assert.isUndefined(yield* takeOf(key))
      yield* options.advance(Duration.minutes(2))
      assert.isDefined(yield* takeOf(key))
      assert.strictEqual(yield* plans.plan([{ key, epoch, generation, after: undefined }]), 1)
      yield* options.advance(Duration.days(400))
      assert.isUndefined(yield* takeOf(key))
      assert.isTrue((yield* commit(key, generation, epoch)).stored)
      yield* options.advance(Duration.sum(soon, Duration.seconds(1)))
      assert.isDefined(yield* takeOf(key))
    }))

  it.effect("REF-21 keeps a plan that comes before the new credentials end, and no other", () =>
    Effect.gen(function*() {
      const plans = yield* RenewalPlans
      const connections = yield* ConnectionStore
      for (
        const { ends, kept } of [
          { ends: { expiresAt: 60, refreshExpiresAt: 90 }, kept: true },
          { ends: { expiresAt: 20, refreshExpiresAt: 90 }, kept: false },
          { ends: { expiresAt: 60, refreshExpiresAt: 20 }, kept: false }
        ]
      ) {
        const { epoch, key } = yield* due(options)
        yield* redeem(key, 1, epoch)
        const { updatedAt } = Option.getOrThrow(yield* connections.get(key))
        yield* plans.plan([{ key, epoch, generation: Fixture.generation(2), after: Duration.minutes(40) }])
        const end = (minutes: number) => DateTime.add(updatedAt, { minutes })
        yield* connections.commit(key, {
          generation: Fixture.generation(2),
          epoch,
          resultId: Fixture.newEpoch(),
          credentials: {
            ...Fixture.newCredentials(),
            expiresAt: end(ends.expiresAt),
            refreshExpiresAt: end(ends.refreshExpiresAt)
          }
        })
        yield* options.advance(Duration.minutes(5))
        assert.strictEqual((yield* takeOf(key)) === undefined, kept)
        if (!kept) continue
        yield* options.advance(Duration.minutes(36))
        assert.isDefined(yield* takeOf(key))
      }
    }))

  it.effect("REF-21 keeps a plan that comes before an end that is learnt later, and no other", () =>
    Effect.gen(function*() {
      const plans = yield* RenewalPlans
      const connections = yield* ConnectionStore
      for (
        const { after, ends, kept } of [
          { after: Duration.minutes(40), ends: 60, kept: true },
          { after: Duration.minutes(40), ends: 20, kept: false },
          { after: undefined, ends: 60, kept: false }
        ]
      ) {
        const { epoch, key } = yield* due(options)
        yield* redeem(key, 1, epoch)
        const { updatedAt } = Option.getOrThrow(yield* connections.get(key))
        const end = (minutes: number) => DateTime.add(updatedAt, { minutes })
        const { expiresAt: _, ...credentials } = Fixture.newCredentials()
        const write = { generation: Fixture.generation(2), epoch, resultId: Fixture.newEpoch() }
        yield* connections.commit(key, { ...write, credentials: { ...credentials, refreshExpiresAt: end(90) } })
        const generation = Fixture.generation(3)
        assert.strictEqual(yield* plans.plan([{ key, epoch, generation, after }]), 1)
        assert.isTrue(yield* connections.setExpiry(key, { generation, epoch, expiresAt: end(ends) }))
        yield* options.advance(Duration.minutes(5))
        assert.strictEqual((yield* takeOf(key)) === undefined, kept)
      }
    }))

  it.effect("REF-21 lets a plan for former credentials, or a former life, change nothing", () =>
    Effect.gen(function*() {
      const plans = yield* RenewalPlans
      const { epoch, key } = yield* due(options)
      const { connection: { generation } } = (yield* takeOf(key))!
      const never = { key, epoch, generation, after: undefined }
      assert.strictEqual(yield* plans.plan([{ ...never, epoch: Fixture.newEpoch() }]), 0)
      assert.isTrue((yield* commit(key, generation, epoch)).stored)
      assert.strictEqual(yield* plans.plan([never, { ...never, key: Fixture.newKey() }]), 0)
      yield* options.advance(Fixture.pastLease)
      assert.isDefined(yield* takeOf(key))
    }))

  it.effect("REF-21 remembers which end was told, through a refresh, and not beyond the life", () =>
    Effect.gen(function*() {
      const plans = yield* RenewalPlans
      const connections = yield* ConnectionStore
      const { epoch, key } = yield* due(options)
      const { connection: { generation } } = (yield* takeOf(key))!
      const told = DateTime.makeUnsafe("2031-01-02T03:04:05.678Z")
      yield* plans.plan([{ key, epoch, generation, after: Duration.minutes(1), told }])
      yield* commit(key, generation, epoch)
      yield* options.advance(Duration.minutes(2))
      const next = (yield* takeOf(key))!
      assert.strictEqual(DateTime.formatIso(next.told!), "2031-01-02T03:04:05.678Z")
      yield* plans.plan([{ key, epoch, generation: next.connection.generation, after: Duration.minutes(1) }])
      yield* options.advance(Duration.minutes(2))
      assert.strictEqual(DateTime.formatIso((yield* takeOf(key))!.told!), "2031-01-02T03:04:05.678Z")
      yield* connections.deposit(key, Fixture.newWrite(next.connection.generation))
      yield* options.advance(Duration.minutes(2))
      assert.isUndefined((yield* takeOf(key))!.told)
    }))

  it.effect("REF-21 takes nothing that needs consent, and nothing that was disconnected or forgotten", () =>
    Effect.gen(function*() {
      const connections = yield* ConnectionStore
      const lost = yield* due(options)
      const fence = yield* claimed(lost.key, 1)
      yield* markSent(lost.key, 1, fence)
      assert.isTrue(yield* fail(lost.key, 1, fence, { _tag: "Terminal", reason: "grant_expired" }))
      const ended = yield* due(options)
      yield* connections.disconnect(ended.key, Fixture.newEpoch())
      const gone = yield* due(options)
      yield* connections.forget(gone.key, { generation: Fixture.generation(1), epoch: gone.epoch })
      yield* options.advance(Duration.hours(1))
      const taken = yield* takeAll()
      for (const { key } of [lost, ended, gone]) assert.deepStrictEqual(taken.filter(of(key)), [])
    }))
}

const nextDue = Effect.flatMap(RenewalPlans, (plans) => plans.nextDue)

/** All that is due, whoever wrote it: the store belongs to every case. */
const takeAll = (lease: Duration.Duration = Fixture.lease) =>
  Effect.flatMap(RenewalPlans, (plans) => plans.take({ limit: 100_000, lease }))

/** Leaves nothing of other cases due for as long as any case lasts. */
const drain = <R>(options: Fixture.ContractOptions<R>) =>
  Effect.andThen(options.advance(Fixture.pastLease), takeAll(Duration.days(10_000)))

const of = (key: ConnectionKey) => ({ connection }: DueConnection): boolean => connection.key.path === key.path

const takeOf = (key: ConnectionKey) => Effect.map(takeAll(), (taken) => taken.find(of(key)))

const deposited = Effect.fnUntraced(function*(part: Parameters<typeof Fixture.newKey>[0]) {
  const connections = yield* ConnectionStore
  const key = Fixture.newKey(part)
  const write = Fixture.newWrite(0)
  yield* connections.deposit(key, write)
  return { key, epoch: write.epoch }
})

/** A connection that is due. */
const due = <R>(options: Fixture.ContractOptions<R>) =>
  Effect.tap(deposited({}), () => options.advance(Duration.sum(soon, Duration.seconds(1))))
