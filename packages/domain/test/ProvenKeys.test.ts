import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import type { Connection } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { Servers } from "@valetkey/domain/Servers"
import * as Canary from "@valetkey/testing/Canary"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, DateTime, Duration, Effect, Exit, Fiber, Latch, Layer, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { makeProvenKeys } from "../src/internal/provenKeys.ts"
import { quiet, shared } from "./Paced.ts"
import { connect, keyOf, layer, layerWith, Provider, Vault } from "./World.ts"

/** An expired connection of a client that authenticates, on one server for all of them, which describes the current client. */
const confidential = Effect.fnUntraced(function*(subject: string, clientId: string) {
  const key = yield* keyOf("confidential", { subject })
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: "https://mcp.example/mcp",
    issuer: shared,
    client: { clientId: "current", authMethod: "client_secret_basic", clientSecret: Canary.make("client_secret") },
    quirks: {}
  })
  const issuedAt = DateTime.subtract(yield* DateTime.now, { hours: 2 })
  yield* (yield* Connections).deposit(key, {
    grant: {
      issuer: shared,
      tokenEndpoint: `${shared}/token`,
      clientId,
      authMethod: "client_secret_basic",
      redemptionPolicy: "retry-once"
    },
    clientSecret: Canary.make("client_secret"),
    credentials: {
      accessToken: Canary.make("access_token"),
      refreshToken: Canary.make("refresh_token"),
      tokenType: "Bearer",
      issuedAt,
      expiresAt: DateTime.add(issuedAt, { hours: 1 })
    }
  })
  return key
})

/** Two replicas, three expired connections of one tenant, and what is asked of store and cipher from now on. */
const replicas = Effect.gen(function*() {
  const keys = [yield* keyOf("first"), yield* keyOf("second"), yield* keyOf("third")] as const
  for (const key of keys) yield* connect(key)
  yield* TestClock.adjust("2 hours")
  const store = yield* ConnectionStore
  const cipher = yield* Cipher
  const { claim } = store
  const { open, seal } = cipher
  const asked: Array<string> = []
  Object.assign(store, {
    claim: (...input: Parameters<typeof claim>) =>
      Effect.tap(claim(...input), ({ _tag }) => Effect.sync(() => asked.push(_tag)))
  })
  Object.assign(cipher, {
    open: (...input: Parameters<typeof open>) => {
      if (input[0].field === "refresh_token") asked.push("open")
      return open(...input)
    },
    seal: (...input: Parameters<typeof seal>) => {
      asked.push("seal")
      return seal(...input)
    }
  })
  return {
    asked,
    keys,
    one: yield* AccessTokens,
    other: Context.get(yield* Layer.build(Layer.fresh(AccessTokens.layer())), AccessTokens),
    points: yield* InjectionPoints,
    redemptions: Effect.map(Provider, ({ redemptions }) => [...redemptions.values()]),
    row: (key: typeof keys[0]) => Effect.map(store.get(key), Option.getOrThrow),
    vault: yield* Vault
  }
})

describe("a process whose keys have just served", () => {
  it.effect("I1 opens nothing for a claim that it loses, and opens and seals for the one that it has before it may send", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second, third], one, other, points } = yield* replicas
      yield* one.get(first)
      yield* other.get(second)
      yield* points.pause("refresh.claimed", { times: 1 })
      asked.length = 0
      const winner = yield* Effect.forkChild(one.get(third), { startImmediately: true })
      yield* points.awaitReached("refresh.claimed", 3)
      const loser = yield* Effect.forkChild(other.get(third), { startImmediately: true })
      assert.deepStrictEqual(asked, ["Claimed", "Busy"])
      yield* points.pause("refresh.sent", { times: 1 })
      yield* points.release("refresh.claimed")
      yield* points.awaitReached("refresh.sent", 3)
      assert.deepStrictEqual(asked, ["Claimed", "Busy", "seal", "open"])
      yield* points.release("refresh.sent")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(winner)).generation, 2)
      assert.strictEqual((yield* Fiber.join(loser)).generation, 2)
      assert.deepStrictEqual(asked.filter((what) => what === "open"), ["open"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 gives back the one claim that shows that a key is gone, sends nothing, and claims no more", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second, third], one, other, redemptions, row, vault } = yield* replicas
      yield* one.get(first)
      const before = (yield* redemptions).length
      vault.locked = true
      asked.length = 0
      for (let call = 0; call < 5; call++) {
        assert.strictEqual((yield* Effect.flip(one.get(second))).code, "encryption_key_missing")
      }
      // What one connection has shown holds for the others.
      assert.strictEqual((yield* Effect.flip(one.get(third))).code, "encryption_key_missing")
      assert.deepStrictEqual(asked.filter((what) => what !== "open" && what !== "seal"), ["Claimed"])
      assert.strictEqual((yield* redemptions).length, before)
      assert.strictEqual((yield* row(second)).status._tag, "active")
      // No lease is in the way of whoever has the key.
      vault.locked = false
      assert.strictEqual((yield* other.get(second)).generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 shows it again after a while, before it claims anything", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second], one, vault } = yield* replicas
      yield* one.get(first)
      yield* TestClock.adjust(Duration.seconds(6))
      vault.locked = true
      asked.length = 0
      assert.strictEqual((yield* Effect.flip(one.get(second))).code, "encryption_key_missing")
      assert.notInclude(asked, "Claimed")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 shows it for each key by itself: what is under another one is opened before a claim", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second], one } = yield* replicas
      const store = yield* ConnectionStore
      const { get } = store
      yield* one.get(first)
      Object.assign(store, {
        get: (key: typeof second) =>
          Effect.map(
            get(key),
            Option.map((found) => ({
              ...found,
              credentials: {
                ...found.credentials,
                refreshToken: found.credentials.refreshToken!.map((byte, place) => place === 7 ? byte ^ 1 : byte)
              }
            }))
          )
      })
      asked.length = 0
      yield* Effect.exit(one.get(second))
      assert.notInclude(asked, "Claimed")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 never claims for a client that authenticates: the server's description may have its secret under another key", () =>
    Effect.gen(function*() {
      const { asked, one } = yield* replicas
      const cipher = yield* Cipher
      const before = yield* confidential("ada", "before")
      const current = yield* confidential("bob", "current")
      const { open } = cipher
      Object.assign(cipher, {
        open: (...input: Parameters<typeof open>) =>
          input[0].table === "servers"
            ? Effect.fail(new CipherError({ code: "encryption_key_unavailable" }))
            : open(...input)
      })
      for (let call = 0; call < 3; call++) {
        yield* TestClock.adjust("2 hours")
        yield* one.get(before)
        asked.length = 0
        assert.strictEqual((yield* Effect.flip(one.get(current))).code, "encryption_key_unavailable")
        assert.notInclude(asked, "Claimed")
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("I14 shows it again after it has waited for its turn", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second, third], one } = yield* replicas
      const provider = yield* Provider
      yield* one.get(first)
      const gate = yield* Latch.make()
      provider.refresh = (issue) => Effect.andThen(gate.await, issue)
      const ahead = yield* Effect.forkChild(one.get(second), { startImmediately: true })
      yield* quiet
      const behind = yield* Effect.forkChild(one.get(third), { startImmediately: true })
      yield* quiet
      yield* TestClock.adjust("6 seconds")
      asked.length = 0
      yield* gate.open
      yield* Fiber.join(ahead)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(behind)
      assert.isAbove(asked.indexOf("Claimed"), asked.indexOf("open"))
      assert.include(asked, "open")
    }).pipe(Effect.scoped, Effect.provide(layerWith({ caps: [{ endpoint: shared, cap: 1 }] }))))

  it.effect("claims once for a row that is damaged, and goes on claiming first for the others", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second, third], one } = yield* replicas
      const store = yield* ConnectionStore
      const { get } = store
      const foreign = Option.getOrThrow(yield* get(first)).credentials.refreshToken!
      yield* one.get(first)
      Object.assign(store, {
        get: (key: typeof second) =>
          Effect.map(
            get(key),
            Option.map((found) =>
              key.path === second.path
                ? { ...found, credentials: { ...found.credentials, refreshToken: foreign } }
                : found
            )
          )
      })
      asked.length = 0
      for (let call = 0; call < 3; call++) {
        assert.strictEqual((yield* Effect.flip(one.get(second))).code, "integrity_error")
      }
      assert.lengthOf(asked.filter((what) => what === "Claimed"), 1)
      asked.length = 0
      yield* one.get(third)
      assert.strictEqual(asked[0], "Claimed")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("gives back what it could not open, whatever was wrong", () =>
    Effect.gen(function*() {
      const { keys: [first, second], one, other } = yield* replicas
      const cipher = yield* Cipher
      const { open } = cipher
      yield* one.get(first)
      Object.assign(cipher, { open: () => Effect.die("defect") })
      assert.isTrue(Exit.hasDies(yield* Effect.exit(one.get(second))))
      Object.assign(cipher, { open })
      yield* quiet
      assert.strictEqual((yield* other.get(second)).generation, 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("tells its caller at once what it could not open, though the store that takes the claim back is gone", () =>
    Effect.gen(function*() {
      const { asked, keys: [first, second], one } = yield* replicas
      const [cipher, store] = [yield* Cipher, yield* ConnectionStore]
      const { fail } = store
      yield* one.get(first)
      asked.length = 0
      Object.assign(cipher, { open: () => Effect.fail(new CipherError({ code: "encryption_key_missing" })) })
      Object.assign(store, { fail: () => Effect.never })
      const told = yield* Effect.forkChild(Effect.flip(one.get(second)), { startImmediately: true })
      yield* quiet
      const heard = told.pollUnsafe()
      assert.include(asked, "Claimed")
      assert.isDefined(heard)
      assert.strictEqual((yield* heard!).code, "encryption_key_missing")
      Object.assign(store, { fail })
      yield* TestClock.adjust("1 second")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("gives back what it was opening when its process ended", () =>
    Effect.gen(function*() {
      const { keys: [first, second] } = yield* replicas
      const [cipher, store] = [yield* Cipher, yield* ConnectionStore]
      const scope = yield* Scope.make()
      const context = yield* Scope.provide(Layer.build(Layer.fresh(AccessTokens.layer())), scope)
      const tokens = Context.get(context, AccessTokens)
      yield* tokens.get(first)
      const { fail } = store
      const given: Array<string> = []
      Object.assign(store, {
        fail: (...input: Parameters<typeof fail>) =>
          Effect.tap(fail(...input), () => Effect.sync(() => given.push(input[1].failure._tag)))
      })
      Object.assign(cipher, { open: () => Effect.never })
      yield* Effect.forkChild(Effect.exit(tokens.get(second)), { startImmediately: true })
      yield* quiet
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(given, ["Retryable"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  const openings = [["opens", undefined], ["hangs", Effect.never], ["dies", Effect.die("defect")]] as const
  for (const [how, opening] of openings) {
    it.effect(`tells of a loss that its claim finds, with the token where it can be named: opening ${how}`, () =>
      Effect.gen(function*() {
        const { keys: [first, second], one } = yield* replicas
        const [cipher, store, trail] = [yield* Cipher, yield* ConnectionStore, yield* AuditTrail]
        const { record } = trail
        const events: Array<readonly [string, boolean]> = []
        Object.assign(trail, {
          record: (event: Parameters<typeof record>[0]) => {
            if (event.action === "connection.needs_consent") events.push([event.outcome, event.secret !== undefined])
            return record(event)
          }
        })
        const { epoch, generation } = Option.getOrThrow(yield* store.get(second))
        const lease = Duration.seconds(1)
        const claim = yield* store.claim(second, { epoch, generation, policy: "strict", lease })
        if (claim._tag !== "Claimed") return assert.fail(claim._tag)
        yield* store.markSent(second, { epoch, generation, fence: claim.fence, lease })
        const { get } = store
        Object.assign(store, {
          get: (key: typeof second) =>
            Effect.map(
              get(key),
              Option.map((found) => ({ ...found, grant: { ...found.grant, redemptionPolicy: "strict" as const } }))
            )
        })
        yield* one.get(first)
        yield* TestClock.adjust("2 seconds")
        if (opening !== undefined) Object.assign(cipher, { open: () => opening })
        const caller = yield* Effect.forkChild(Effect.flip(one.get(second)), { startImmediately: true })
        yield* quiet
        yield* TestClock.adjust("500 millis")
        assert.strictEqual((yield* Fiber.join(caller)).code, "reauthorization_required")
        assert.deepStrictEqual(events, [["unknown_outcome", opening === undefined]])
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }
})

describe("what is shown by one connection", () => {
  it.effect("counts for those alone that take the same keys and nothing besides their own envelopes", () =>
    Effect.gen(function*() {
      const { keys: [first], row } = yield* replicas
      const found = yield* row(first)
      const account = Sealed.make(new Uint8Array(9).fill(1))
      const known: Connection = { ...found, account }
      const others: Record<string, Connection> = {
        tenant: { ...known, key: yield* keyOf("first", { tenant: "umbrella" }) },
        token: {
          ...known,
          credentials: { ...known.credentials, refreshToken: Sealed.make(new Uint8Array(9).fill(3)) }
        },
        account: { ...known, account: Sealed.make(new Uint8Array(9).fill(2)) },
        unnamed: { ...known, account: undefined },
        client: { ...known, grant: { ...known.grant, authMethod: "client_secret_basic" } },
        unattended: {
          ...known,
          grant: { ...known.grant, unattended: { grant: { type: "client_credentials" }, scopes: [] } }
        }
      }
      const keys = makeProvenKeys()
      yield* keys.learn(known)
      assert.isTrue(yield* keys.holds({ ...known, key: yield* keyOf("second", { subject: "bob" }) }))
      for (const [what, other] of Object.entries(others)) assert.isFalse(yield* keys.holds(other), what)
      // What shows nothing for itself is not believed after it was opened either.
      for (const other of [others["client"]!, others["unattended"]!]) {
        yield* keys.learn(other)
        assert.isFalse(yield* keys.holds(other))
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
