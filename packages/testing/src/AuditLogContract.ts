import { assert, describe, it, type Vitest } from "@effect/vitest"
import * as AuditChain from "@valetkey/domain/AuditChain"
import type { AuditEntry, AuditEvent } from "@valetkey/domain/AuditEvent"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { Digest } from "@valetkey/domain/Entropy"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, type Layer } from "effect"
import { createHash } from "node:crypto"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `AuditLog` on a layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<AuditLog | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`AuditLog (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(it: Vitest.MethodsNonLive<AuditLog | R>, options: Fixture.ContractOptions<R>): void => {
  it.effect("LEAK-12 keeps every event whole and in the order of appending", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = Fixture.newKey()
      const events: ReadonlyArray<AuditEvent> = [
        { ...eventOf(key), action: "flow.started", outcome: "pending" },
        { ...eventOf(key), action: "flow.settled", outcome: "completed", generation: 1, principal: "system" },
        { ...eventOf(key), action: "token.read", generation: 1, fingerprint: "1:00ff", count: 7, from: "global" },
        { ...eventOf(key), action: "token.refresh_failed", outcome: "Terminal", answer: "invalid_grant" },
        { ...eventOf(key), action: "connection.disconnected", outcome: "done" },
        { ...eventOf(key), action: "server.stored", outcome: "ok" },
        { ...withoutServer(key), action: "root_key.rewrapped", outcome: "done", target: "7", count: 100 }
      ]
      yield* log.append(events.slice(0, 3))
      yield* log.append(events.slice(3))
      const entries = yield* log.read({ tenant: key.tenant, after: 0, limit: 10 })
      assert.deepStrictEqual(entries.map(({ at: _, hash: __, previous: ___, seq: ____, ...event }) => event), events)
      assert.deepStrictEqual(entries.map(({ seq }) => seq), [1, 2, 3, 4, 5, 6, 7])
      const page = yield* log.read({ tenant: key.tenant, after: 1, limit: 2 })
      assert.deepStrictEqual(page, entries.slice(1, 3))
    }))

  it.effect("LIFE-10 links every event to the one before by SHA-256, from the genesis to the head", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = Fixture.newKey()
      assert.deepStrictEqual(yield* log.head(key.tenant), AuditChain.empty)
      for (let index = 0; index < 5; index++) yield* log.append([eventOf(key), eventOf(key)])
      assert.isUndefined(yield* findFault(log, key.tenant))
      const head = yield* log.head(key.tenant)
      assert.strictEqual(head.seq, 10)
      // The format that the documentation promises, computed without the code under test.
      const first = (yield* log.read({ tenant: key.tenant, after: 0, limit: 1 }))[0]!
      const text = JSON.stringify([
        "valetkey/audit/v1",
        "A".repeat(43),
        key.tenant,
        1,
        DateTime.toEpochMillis(first.at),
        key.subject,
        key.server,
        "token.refreshed",
        "done",
        "local",
        "socket",
        null,
        null,
        null
      ])
      assert.strictEqual(first.hash, createHash("sha256").update(text).digest("base64url"))
      // A target is one element more, and no server is none.
      yield* log.append([{ ...withoutServer(key), target: "vk_1" }])
      const last = (yield* log.read({ tenant: key.tenant, after: 10, limit: 1 }))[0]!
      const more = JSON.stringify([
        "valetkey/audit/v1",
        head.hash,
        key.tenant,
        11,
        DateTime.toEpochMillis(last.at),
        key.subject,
        null,
        "token.refreshed",
        "done",
        "local",
        "socket",
        null,
        null,
        null,
        "vk_1"
      ])
      assert.strictEqual(last.hash, createHash("sha256").update(more).digest("base64url"))
      // A provider's answer is another one, after the target or after none.
      const answered = [
        [{ ...eventOf(key), answer: "invalid_grant" }, key.server, [null, "invalid_grant"]],
        [{ ...withoutServer(key), target: "vk_1", answer: "slow_down" }, null, ["vk_1", "slow_down"]]
      ] as const
      for (const [event, server, rest] of answered) {
        const end = yield* log.head(key.tenant)
        yield* log.append([event])
        const [entry] = yield* log.read({ tenant: key.tenant, after: end.seq, limit: 1 })
        const line = JSON.stringify([
          "valetkey/audit/v1",
          end.hash,
          key.tenant,
          end.seq + 1,
          DateTime.toEpochMillis(entry!.at),
          key.subject,
          server,
          "token.refreshed",
          "done",
          "local",
          "socket",
          null,
          null,
          null,
          ...rest
        ])
        assert.strictEqual(entry!.hash, createHash("sha256").update(line).digest("base64url"))
      }
    }))

  it.effect("shows what became of one connection, the latest first and page after page, without the uses of its tokens", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = Fixture.newKey()
      const read: AuditEvent = { ...eventOf(key), action: "token.read" }
      const others: ReadonlyArray<AuditEvent> = [
        { ...eventOf(key), subject: SubjectId.make("grace") },
        { ...eventOf(key), server: ServerSlug.make("another") },
        { ...eventOf(key), action: "server.stored" },
        withoutServer(key)
      ]
      const own = Array.from({ length: 5 }, (_, generation): AuditEvent => ({ ...eventOf(key), generation }))
      yield* log.append(own.flatMap((event) => [event, read, ...others]))
      yield* log.append([eventOf(Fixture.newKey())])
      const { server, subject, tenant } = key
      const page = (before: Digest | undefined, limit: number) =>
        log.history({ tenant, subject, server, before, limit })
      const whole = yield* page(undefined, 100)
      assert.deepStrictEqual(whole.map(({ generation }) => generation), [4, 3, 2, 1, 0])
      const entries = yield* log.read({ tenant, after: 0, limit: 100 })
      assert.deepStrictEqual(whole, entries.filter(({ generation }) => generation !== undefined).toReversed())
      const first = yield* page(undefined, 2)
      assert.deepStrictEqual(first, whole.slice(0, 2))
      assert.deepStrictEqual(yield* page(first.at(-1)!.hash, 2), whole.slice(2, 4))
      assert.deepStrictEqual(yield* page(whole.at(-1)!.hash, 2), [])
      const foreign = entries.find(({ subject }) => subject === "grace")!.hash
      assert.deepStrictEqual(yield* page(foreign, 2), [])
      const rival = { subject, server, before: undefined, limit: 10 }
      assert.deepStrictEqual(yield* log.history({ tenant: Fixture.newTenant(), ...rival }), [])
    }))

  it.effect("knows when tokens of connections were last handed out, and of none where nothing says so", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = Fixture.newKey()
      const { server, subject, tenant } = key
      const [unused, foreign] = [ServerSlug.make("unused"), ServerSlug.make("foreign")]
      const read: AuditEvent = { ...eventOf(key), action: "token.read" }
      yield* log.append([read, { ...eventOf(key), server: unused }, {
        ...read,
        subject: SubjectId.make("grace"),
        server: foreign
      }])
      yield* options.advance(Duration.minutes(5))
      yield* log.append([read, eventOf(key)])
      const latest = (yield* log.read({ tenant, after: 3, limit: 1 }))[0]!
      const uses = yield* log.lastUses({ tenant, subject, servers: [server, unused, foreign] })
      assert.deepStrictEqual([...uses], [[server, latest.at]])
      assert.deepStrictEqual([...yield* log.lastUses({ tenant, subject, servers: [unused] })], [])
      assert.deepStrictEqual([...yield* log.lastUses({ tenant: Fixture.newTenant(), subject, servers: [server] })], [])
    }))

  it.effect("LIFE-10 keeps one chain when many append at once", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const keys = [Fixture.newKey(), Fixture.newKey()] as const
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, index) => index),
        (index) => log.append([eventOf(keys[index % 2]!), eventOf(keys[0])]),
        { concurrency: 40, discard: true }
      )
      assert.deepStrictEqual([(yield* log.head(keys[0].tenant)).seq, (yield* log.head(keys[1].tenant)).seq], [60, 20])
      for (const { tenant } of keys) assert.isUndefined(yield* findFault(log, tenant))
    }))

  it.effect("I10 keeps the events of tenants apart", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const [mine, theirs] = [Fixture.newKey(), Fixture.newKey()]
      yield* log.append([eventOf(mine), eventOf(theirs)])
      const read = (tenant: TenantId) => log.read({ tenant, after: 0, limit: 10 })
      assert.deepStrictEqual((yield* read(mine.tenant)).map(({ subject }) => subject), [mine.subject])
      assert.deepStrictEqual((yield* read(theirs.tenant)).map(({ seq }) => seq), [1])
      assert.deepStrictEqual(yield* read(Fixture.newTenant()), [])
    }))

  it.effect("LIFE-10 removes what is past its retention, says so in the chain, and leaves one that verifies from its anchor", () =>
    Effect.gen(function*() {
      const log = yield* AuditLog
      const key = Fixture.newKey()
      yield* log.append([eventOf(key), eventOf(key), eventOf(key)])
      yield* options.advance(Duration.days(2))
      yield* log.append([eventOf(key)])
      const before = yield* log.read({ tenant: key.tenant, after: 0, limit: 10 })
      const prune = log.prune({ olderThan: Duration.days(1), limit: 2 })
      let removed = 0
      const pruneAll = Effect.gen(function*() {
        while (true) {
          const pruned = yield* prune
          for (const one of pruned) if (one.tenant === key.tenant) removed += one.removed
          if (pruned.length === 0) return
        }
      })
      yield* pruneAll
      assert.strictEqual(removed, 3)
      // A page removes and says so in one step: two of two and one.
      const left = yield* log.read({ tenant: key.tenant, after: 0, limit: 10 })
      assert.deepStrictEqual(left.slice(0, 1), before.slice(3))
      assert.deepStrictEqual(
        left.slice(1).map(({ at: _, hash: __, previous: ___, seq: ____, ...event }) => event),
        [AuditChain.prunedEvent(key.tenant, 2), AuditChain.prunedEvent(key.tenant, 1)]
      )
      const head = yield* log.head(key.tenant)
      assert.deepStrictEqual(head.anchor, { seq: 3, hash: before[2]!.hash })
      assert.isUndefined(yield* findFault(log, key.tenant))
      yield* options.advance(Duration.days(2))
      yield* pruneAll
      assert.strictEqual(removed, 6)
      assert.deepStrictEqual((yield* log.head(key.tenant)).anchor.seq, 6)
      const counts = (yield* log.read({ tenant: key.tenant, after: 0, limit: 10 })).map(({ count }) => count)
      assert.deepStrictEqual(counts, [2, 1])
      yield* log.append([eventOf(key)])
      assert.isUndefined(yield* findFault(log, key.tenant))
    }))

  for (const tampering of ["edit", "delete", "reorder", "cut"] as const) {
    it.effect(`LIFE-10 shows a tampered chain to the verifier: ${tampering}`, () =>
      Effect.gen(function*() {
        const log = yield* AuditLog
        const key = Fixture.newKey()
        yield* log.append([0, 1, 2, 3].map((generation) => ({ ...eventOf(key), generation })))
        assert.isUndefined(yield* findFault(log, key.tenant))
        yield* options.tamper(key.tenant, tampering)
        assert.deepStrictEqual(
          yield* findFault(log, key.tenant),
          { edit: "altered at 2", delete: "missing at 2", reorder: "unlinked at 2", cut: "missing at 4" }[tampering]
        )
      }))
  }
}

const eventOf = (key: ReturnType<typeof Fixture.newKey>): AuditEvent => ({
  tenant: key.tenant,
  subject: key.subject,
  server: key.server,
  action: "token.refreshed",
  outcome: "done",
  principal: "local",
  from: "socket"
})

const withoutServer = (key: ReturnType<typeof Fixture.newKey>): AuditEvent => {
  const { server: _, ...event } = eventOf(key)
  return event
}

const hasher: AuditChain.Hasher = (text) => Digest.make(createHash("sha256").update(text).digest("base64url"))

/** Walks a chain from its anchor to its head and says where it breaks. */
const findFault = Effect.fnUntraced(function*(log: AuditLog["Service"], tenant: TenantId) {
  const head = yield* log.head(tenant)
  let before: { readonly seq: number; readonly hash: Digest } = head.anchor
  const entries: ReadonlyArray<AuditEntry> = yield* log.read({ tenant, after: before.seq, limit: 1000 })
  for (const entry of entries) {
    const fault = AuditChain.faultOf(hasher, before, entry)
    if (fault !== undefined) return `${fault} at ${before.seq + 1}`
    before = entry
  }
  return before.seq === head.seq && before.hash === head.hash ? undefined : `missing at ${before.seq + 1}`
})
