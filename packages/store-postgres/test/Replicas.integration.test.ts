import { assert, describe, it } from "@effect/vitest"
import { Audit } from "@valetkey/domain/Audit"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Digest, Entropy } from "@valetkey/domain/Entropy"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Context, Duration, Effect, Layer, Option, Redacted, Result } from "effect"
import { createHash, randomUUID } from "node:crypto"
import * as PostgresStore from "../src/PostgresStore.ts"
import { TestDatabase } from "./internal/realPostgres.ts"
import { newAuthorization, newKey, newStart, newWrite, rightCallback } from "./internal/rows.ts"

/** The ports of one replica, with pools of its own. */
const replica = Effect.flatMap(TestDatabase, ({ url }) =>
  Effect.map(
    Layer.build(Layer.fresh(PostgresStore.layer({ url, maxConnections: 4 }))),
    (context) => ({
      flows: Context.get(context, FlowStore),
      connections: Context.get(context, ConnectionStore),
      outbox: Context.get(context, RevocationOutbox),
      audit: Context.get(context, AuditLog)
    })
  ))

type Replica = Effect.Success<typeof replica>

class Replicas extends Context.Service<Replicas, readonly [Replica, Replica, Replica]>()("test/Replicas") {
  static readonly layer = Layer.effect(Replicas, Effect.all([replica, replica, replica])).pipe(
    Layer.provideMerge(TestDatabase.layer)
  )
}

/** Runs `count` calls at once, spread over the replicas. */
const race = <A, E>(count: number, call: (replica: Replica) => Effect.Effect<A, E>) =>
  Effect.flatMap(Replicas, (replicas) =>
    Effect.all(
      Array.from({ length: count }, (_, index) => call(replicas[index % replicas.length] ?? replicas[0])),
      { concurrency: "unbounded" }
    ))

const openFlow = Effect.fnUntraced(function*({ flows }: Replica) {
  const key = newKey()
  const { flow } = yield* flows.reserve(newStart(key))
  const authorization = newAuthorization()
  yield* flows.freeze(flow.id, authorization)
  return { key, id: flow.id, authorization }
})

const digestOf = (text: string) => Digest.make(createHash("sha256").update(text).digest("base64url"))

const layerDigests = Layer.succeed(Entropy)({
  secret: Effect.die("no secrets here"),
  signingKey: Effect.die("no keys here"),
  id: Effect.sync(() => randomUUID()),
  digest: (secret) => digestOf(Redacted.value(secret)),
  digestOf
})

const refresh = { policy: "retry-once" as const, lease: Duration.minutes(1) }

describe("Replicas", () =>
  it.layer(Replicas.layer, { timeout: "60 seconds", excludeTestServices: true })((it) => {
    it.effect("FLOW-05 I2 gives a flow to exactly one of fifty callbacks over three replicas", () =>
      Effect.gen(function*() {
        for (let round = 0; round < 5; round++) {
          const { authorization } = yield* Effect.flatMap(Replicas, ([one]) => openFlow(one))
          const claims = yield* race(50, ({ flows }) => flows.claim(rightCallback(authorization)))
          assert.strictEqual(claims.filter(Option.isSome).length, 1)
        }
      }))

    it.effect("LIFE-10 appends to one chain without forking it, from three replicas at once", () =>
      Effect.gen(function*() {
        const { server, subject, tenant } = newKey()
        const event = {
          tenant,
          subject,
          server,
          action: "token.refreshed",
          outcome: "ok",
          principal: "jwt",
          from: "global"
        } as const
        yield* race(60, ({ audit }) => audit.append([event, event]))
        const [{ audit }] = yield* Replicas
        const verdict = yield* Effect.flatMap(Audit, ({ verify }) => verify(tenant)).pipe(
          Effect.provide(Layer.provide(Audit.layer, [Layer.succeed(AuditLog)(audit), layerDigests]))
        )
        assert.deepInclude(verdict, { events: 120, fault: undefined })
      }))

    it.effect("FLOW-23 I8 gives the slot to exactly one of twenty starts over three replicas and names it to the others", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        for (let round = 0; round < 5; round++) {
          const key = newKey()
          const starts = yield* race(20, ({ flows }) => Effect.result(flows.reserve(newStart(key))))
          const reserved = starts.flatMap((start) => Result.isSuccess(start) ? [start.success.flow.id] : [])
          const named = starts.flatMap((start) =>
            Result.isFailure(start) && start.failure._tag === "FlowConflict" ? [start.failure.running] : []
          )
          assert.strictEqual(reserved.length, 1)
          assert.deepStrictEqual(named, Array.from({ length: 19 }, () => reserved[0]))
          const open = yield* sql`SELECT id FROM flows WHERE tenant = ${key.tenant} AND state = 'pending'`
          assert.strictEqual(open.length, 1)
        }
      }))

    it.effect("I8 keeps one open flow when thirty starts over three replicas supersede each other", () =>
      Effect.gen(function*() {
        const { sql } = yield* TestDatabase
        const key = newKey()
        const starts = yield* race(30, ({ flows }) => flows.reserve({ ...newStart(key), onConflict: "supersede" }))
        const superseded = starts.flatMap((start) =>
          start._tag === "Reserved" && start.superseded !== undefined ? [start.superseded] : []
        )
        assert.strictEqual(new Set(superseded).size, 29)
        const rows = yield* sql<{ id: string; latest: boolean; state: string }>`
          SELECT id, latest, state FROM flows WHERE tenant = ${key.tenant}`
        assert.strictEqual(rows.filter(({ state }) => state === "superseded").length, 29)
        const open = rows.filter(({ state }) => state === "pending")
        assert.deepStrictEqual(open.map(({ latest }) => latest), [true])
        assert.notInclude(superseded, open[0]?.id)
      }))

    it.effect("FLOW-26 lets any replica take a callback", () =>
      Effect.gen(function*() {
        const [one, ...others] = yield* Replicas
        for (const other of others) {
          const { authorization } = yield* openFlow(one)
          assert.isTrue(Option.isSome(yield* other.flows.claim(rightCallback(authorization))))
        }
      }))

    it.effect("FLOW-27 lets a new process finish what one that is gone began", () =>
      Effect.gen(function*() {
        const { authorization, id, key } = yield* Effect.scoped(Effect.flatMap(replica, openFlow))
        const finished = Effect.flatMap(replica, ({ flows }) =>
          Effect.gen(function*() {
            const claimed = Option.getOrThrow(yield* flows.claim(rightCallback(authorization)))
            return yield* flows.complete(id, claimed.fence, newWrite(0))
          }))
        assert.strictEqual((yield* Effect.scoped(finished))._tag, "Completed")
        const [one] = yield* Replicas
        assert.strictEqual(Option.getOrThrow(yield* one.connections.get(key)).generation, 1)
      }))

    it.effect("I1 gives the right to redeem to exactly one of fifty callers over three replicas", () =>
      Effect.gen(function*() {
        const [one] = yield* Replicas
        const key = newKey()
        yield* one.connections.deposit(key, newWrite(0))
        const { epoch, generation } = Option.getOrThrow(yield* one.connections.get(key))
        const claims = yield* race(50, ({ connections }) => connections.claim(key, { ...refresh, epoch, generation }))
        assert.strictEqual(claims.filter(({ _tag }) => _tag === "Claimed").length, 1)
        assert.strictEqual(claims.filter(({ _tag }) => _tag === "Busy").length, 49)
      }))

    it.effect("I4 lets exactly one of thirty commits of a generation land", () =>
      Effect.gen(function*() {
        const [one] = yield* Replicas
        const key = newKey()
        yield* one.connections.deposit(key, newWrite(0))
        const { epoch, generation } = Option.getOrThrow(yield* one.connections.get(key))
        const landed = yield* race(30, ({ connections }) => {
          const resultId = randomUUID()
          const { credentials } = newWrite(0)
          return Effect.map(
            connections.commit(key, { generation, epoch, credentials, resultId }),
            (committed) => committed ? [resultId] : []
          )
        })
        const [winner, ...rest] = landed.flat()
        assert.deepStrictEqual(rest, [])
        assert.isTrue(yield* one.connections.isCommitted(key, winner ?? ""))
        assert.strictEqual(Option.getOrThrow(yield* one.connections.get(key)).generation, generation + 1)
      }))

    it.effect("DB-06 I6 leaves no credentials when disconnects race completing flows, and never deadlocks", () =>
      Effect.gen(function*() {
        const [one, two, three] = yield* Replicas
        for (let round = 0; round < 15; round++) {
          const { authorization, id, key } = yield* openFlow(one)
          const { fence } = Option.getOrThrow(yield* one.flows.claim(rightCallback(authorization)))
          const [completion] = yield* Effect.all([
            two.flows.complete(id, fence, newWrite(0)),
            three.connections.disconnect(key, newWrite(0).epoch)
          ], { concurrency: "unbounded" })
          const connection = yield* one.connections.get(key)
          if (completion._tag === "ClaimLost") assert.isTrue(Option.isNone(connection))
          else {
            assert.strictEqual(completion._tag, "Completed")
            assert.strictEqual(Option.getOrThrow(connection).status._tag, "revoking")
            assert.strictEqual(Option.getOrThrow(connection).credentials.accessToken.length, 0)
          }
        }
      }))

    it.effect("gives each owed revocation to one of the replicas", () =>
      Effect.gen(function*() {
        const [one] = yield* Replicas
        const ids: ReadonlyArray<string> = Array.from({ length: 40 }, () => randomUUID())
        const { epoch: _, previous: __, ...owed } = newWrite(0)
        yield* Effect.forEach(ids, (id) => one.outbox.enqueue({ id, key: newKey(), grant: owed.grant }))
        const taken = yield* race(12, ({ outbox }) => outbox.take({ limit: 7, lease: Duration.minutes(1) }))
        const own = taken.flat().map(({ id }) => id).filter((id) => ids.includes(id))
        assert.strictEqual(new Set(own).size, own.length)
        assert.strictEqual(own.length, 40)
      }))

    it.effect("S3.8 I10 keeps two tenants apart that share subject, server and flow id", () =>
      Effect.gen(function*() {
        const [one] = yield* Replicas
        const subject = SubjectId.make(randomUUID())
        const mine = newKey({ subject })
        const theirs = newKey({ subject })
        yield* one.connections.deposit(mine, newWrite(0))
        assert.isTrue(Option.isNone(yield* one.connections.get(theirs)))
        yield* one.connections.deposit(theirs, newWrite(0))
        yield* one.connections.deposit(theirs, newWrite(1))
        assert.isTrue(yield* one.connections.disconnect(theirs, newWrite(0).epoch))
        const kept = Option.getOrThrow(yield* one.connections.get(mine))
        assert.deepStrictEqual([kept.status._tag, kept.generation], ["active", 1])
        const { flow } = yield* one.flows.reserve(newStart(mine))
        const foreign = { id: flow.id, tenant: TenantId.make(theirs.tenant), subject }
        assert.isTrue(Option.isNone(yield* one.flows.get(foreign)))
        assert.isFalse(yield* one.flows.cancel(foreign))
        assert.strictEqual((yield* one.flows.reserve(newStart(theirs)))._tag, "Reserved")
        assert.strictEqual(
          Option.getOrThrow(yield* one.flows.get({ ...foreign, tenant: mine.tenant })).state,
          "pending"
        )
      }))

    it.effect("S3.13 gives back every byte of a sealed value", () =>
      Effect.gen(function*() {
        const [one] = yield* Replicas
        const key = newKey()
        const write = newWrite(0)
        const bytes = Uint8Array.from(
          { length: 70_000 },
          (_, index) => index % 256
        ) as typeof write.credentials.accessToken
        yield* one.connections.deposit(key, { ...write, credentials: { ...write.credentials, accessToken: bytes } })
        const read = Option.getOrThrow(yield* one.connections.get(key))
        assert.isTrue(Buffer.from(read.credentials.accessToken).equals(bytes))
      }))
  }))
