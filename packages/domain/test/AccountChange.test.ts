import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { Account } from "@valetkey/domain/Account"
import { Audit } from "@valetkey/domain/Audit"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Servers } from "@valetkey/domain/Servers"
import { StoreError } from "@valetkey/domain/StoreError"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { DateTime, Duration, Effect, Fiber, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider, refuse, Vault } from "./World.ts"

const issuer = "https://as.example"
const ada: Account = { issuer, id: "1001", label: "ada" }
const bob: Account = { issuer, id: "1002", label: "bob" }

/** Who answers the next consent, or refresh, at the provider. */
const signIn = (account: Account | undefined) =>
  Effect.map(Provider, (provider) => {
    provider.answer = (credentials) => ({ ...credentials, account })
  })

/** A connection of Ada's. */
const connected = Effect.fnUntraced(function*() {
  const key = yield* keyOf("mcp")
  yield* signIn(ada)
  assert.strictEqual((yield* connect(key)).state, "completed")
  return key
})

/** Lets an operator decide what becomes of other accounts. */
const decide = Effect.fnUntraced(function*(key: ConnectionKey, accountChange: "refuse" | "replace") {
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: "https://mcp.example/mcp",
    accountChange,
    quirks: {}
  })
})

const stored = (key: ConnectionKey) => Effect.map(ConnectionStore.use((store) => store.get(key)), Option.getOrThrow)

const accountOf = Effect.fnUntraced(function*(key: ConnectionKey) {
  return yield* (yield* Connections).account(yield* stored(key))
})

const tokenOf = (key: ConnectionKey) =>
  Effect.map(AccessTokens.use((tokens) => tokens.get(key)), ({ accessToken }) => Redacted.value(accessToken))

const actions = Effect.fnUntraced(function*(key: ConnectionKey) {
  const events = yield* (yield* Audit).list({ tenant: key.tenant, after: 0, limit: 100 })
  return events.map(({ action, outcome }) => `${action} ${outcome}`)
})

/** Has a program store credentials of this account after the answer of the next flow is judged, before it is written. */
const depositBeforeCompletion = Effect.fnUntraced(function*(key: ConnectionKey, account: Account) {
  const [connections, flows, { grant }] = [yield* Connections, yield* FlowStore, yield* stored(key)]
  const { complete } = flows
  Object.assign(flows, {
    complete: (...input: Parameters<typeof complete>) =>
      Effect.gen(function*() {
        Object.assign(flows, { complete })
        const issuedAt = yield* DateTime.now
        const credentials = { accessToken: Redacted.make("deposited"), tokenType: "Bearer", issuedAt, account }
        yield* Effect.orDie(connections.deposit(key, { grant, credentials }))
        return yield* complete(...input)
      })
  })
})

/** Sends what is owed. */
const revoked = Effect.gen(function*() {
  yield* (yield* Housekeeping).revoke
  return (yield* Provider).revoked
})

describe("a consent of another account", () => {
  it.effect("BIND-13 fails with account_changed, leaves the connection as it was, and its tokens are revoked", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const [provider, before, first] = [yield* Provider, yield* stored(key), yield* tokenOf(key)]
      yield* signIn(bob)
      const flow = yield* connect(key)
      assert.deepStrictEqual([flow.state, flow.failure], ["failed", "account_changed"])
      assert.deepStrictEqual(yield* stored(key), before)
      assert.strictEqual(yield* tokenOf(key), first)
      assert.deepStrictEqual(yield* accountOf(key), ada)
      const theirs = provider.issued[1]
      assert.include(yield* revoked, theirs)
      assert.notInclude(provider.revoked, first)
      assert.include(yield* actions(key), "flow.settled account_changed")
      // The person tries again with the right account.
      yield* signIn({ ...ada, label: "ada@example.org" })
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.deepStrictEqual(yield* accountOf(key), { ...ada, label: "ada@example.org" })
      assert.strictEqual(yield* tokenOf(key), provider.issued[2])
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 is refused when the connection needs consent, too", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const provider = yield* Provider
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => Effect.die("not asked")
      const store = yield* ConnectionStore
      const { epoch, generation } = yield* stored(key)
      const claim = yield* store.claim(key, { generation, epoch, policy: "strict", lease: Duration.minutes(1) })
      const fence = claim._tag === "Claimed" ? claim.fence : yield* Effect.die(claim)
      const failure = { _tag: "Terminal", reason: "refresh_token_rejected" } as const
      yield* store.markSent(key, { generation, epoch, fence, lease: Duration.minutes(1) })
      yield* store.fail(key, { generation, epoch, fence, policy: "strict", failure })
      yield* signIn(bob)
      assert.strictEqual((yield* connect(key)).failure, "account_changed")
      assert.deepStrictEqual((yield* stored(key)).status, { _tag: "needs_reauth", reason: "refresh_token_rejected" })
      assert.deepStrictEqual(yield* accountOf(key), ada)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 replaces the account where the operator said so, which the log and the connection tell", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      yield* decide(key, "replace")
      yield* TestClock.adjust("1 hour")
      yield* signIn(bob)
      assert.strictEqual((yield* connect(key)).state, "completed")
      const replacedAt = yield* DateTime.now
      assert.deepStrictEqual(yield* accountOf(key), { ...bob, replacedAt })
      assert.include(yield* actions(key), "connection.account_replaced ok")
      assert.deepStrictEqual(yield* revoked, [])
      // The same account again is no further change, and what happened stays visible.
      yield* TestClock.adjust("1 hour")
      yield* connect(key)
      assert.deepStrictEqual(yield* accountOf(key), { ...bob, replacedAt })
      const all = yield* actions(key)
      assert.strictEqual(all.filter((action) => action.startsWith("connection.account_replaced")).length, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 is welcome after a disconnect, before and after the old tokens are revoked", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const connections = yield* Connections
      yield* connections.disconnect(key)
      assert.isUndefined((yield* stored(key)).account)
      yield* signIn(bob)
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.deepStrictEqual(yield* accountOf(key), bob)
      yield* connections.disconnect(key)
      yield* revoked
      yield* signIn(ada)
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.deepStrictEqual(yield* accountOf(key), ada)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 is compared with the account that is there when it is stored, not with an earlier one", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const points = yield* InjectionPoints
      yield* signIn(bob)
      yield* points.pause("flow.before_commit", { times: 1 })
      const flow = yield* Effect.forkChild(connect(key))
      yield* points.awaitReached("flow.before_commit")
      // Bob's own credentials are deposited in the meantime: now it is his connection.
      const { grant } = yield* stored(key)
      const issuedAt = yield* DateTime.now
      const credentials = { accessToken: Redacted.make("deposited"), tokenType: "Bearer", issuedAt, account: bob }
      yield* (yield* Connections).deposit(key, { grant, credentials })
      yield* points.release("flow.before_commit")
      assert.strictEqual((yield* Fiber.join(flow)).state, "completed")
      assert.deepStrictEqual(yield* accountOf(key), bob)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 is judged again when a deposit comes between the judgement and the write", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      yield* depositBeforeCompletion(key, bob)
      assert.strictEqual((yield* connect(key)).failure, "account_changed")
      assert.deepStrictEqual([yield* tokenOf(key), yield* accountOf(key)], ["deposited", bob])
    }).pipe(Effect.provide(layer)))

  it.effect("is no replacement when a deposit of the same account comes between the judgement and the write", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      yield* decide(key, "replace")
      yield* depositBeforeCompletion(key, bob)
      yield* signIn(bob)
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.deepStrictEqual(yield* accountOf(key), bob)
      assert.notInclude((yield* actions(key)).join(), "account_replaced")
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 leaves the grant of a client alone that other servers may have, and says so in the log", () =>
    Effect.gen(function*() {
      const [work, home] = [yield* keyOf("mail-work"), yield* keyOf("mail-home")]
      const provider = yield* Provider
      const client = { clientId: "registered-by-hand", authMethod: "none" } as const
      for (const [key, account] of [[work, ada], [home, bob]] as const) {
        yield* (yield* Servers).put(key.tenant, key.server, { resource: "https://mcp.example/mcp", client, quirks: {} })
        yield* signIn(account)
        assert.strictEqual((yield* connect(key)).state, "completed")
      }
      // Bob's grant is the one that mail-home lives on: a provider may end it with any of its tokens.
      assert.strictEqual((yield* connect(work)).failure, "account_changed")
      assert.deepStrictEqual(yield* revoked, [])
      assert.strictEqual(yield* tokenOf(home), provider.issued[1])
      const told = (yield* actions(work)).filter((action) => !action.startsWith("flow.started"))
      assert.deepStrictEqual(told.slice(-2), ["flow.grant_left shared_client", "flow.settled account_changed"])
    }).pipe(Effect.provide(layer)))

  it.effect("is told once when the answer of the store is lost", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      yield* decide(key, "replace")
      const flows = yield* FlowStore
      const { complete } = flows
      let times = 0
      Object.assign(flows, {
        complete: (...input: Parameters<typeof complete>) =>
          times++ > 0
            ? complete(...input)
            : Effect.andThen(
              complete(...input),
              Effect.fail(new StoreError({ code: "store_unavailable", operation: "test" }))
            )
      })
      yield* signIn(bob)
      const flow = yield* Effect.forkChild(connect(key))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(flow)).state, "completed")
      Object.assign(flows, { complete })
      const all = yield* actions(key)
      assert.deepStrictEqual(all.filter((action) => action.startsWith("connection.account_replaced")), [
        "connection.account_replaced ok"
      ])
      assert.deepStrictEqual(yield* revoked, [])
    }).pipe(Effect.provide(layer)))
})

describe("an answer that names nobody", () => {
  it.effect("connects as ever where nobody is known, and names whoever is named first", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      for (const account of [undefined, undefined, bob]) {
        yield* signIn(account)
        assert.strictEqual((yield* connect(key)).state, "completed")
        assert.deepStrictEqual(yield* accountOf(key), account)
      }
      assert.notInclude((yield* actions(key)).join(), "account_replaced")
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 confirms no account that is known, and its tokens are left alone: they may be of the same grant", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const first = yield* tokenOf(key)
      yield* signIn(undefined)
      const flow = yield* connect(key)
      assert.deepStrictEqual([flow.state, flow.failure], ["failed", "account_unconfirmed"])
      assert.strictEqual(yield* tokenOf(key), first)
      assert.deepStrictEqual(yield* accountOf(key), ada)
      assert.deepStrictEqual(yield* revoked, [])
      yield* decide(key, "replace")
      assert.strictEqual((yield* connect(key)).state, "completed")
      assert.isUndefined(yield* accountOf(key))
      assert.include(yield* actions(key), "connection.account_replaced unknown")
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-13 confirms no account whose envelope was moved; without a key the account is not told", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const [store, vault] = [yield* ConnectionStore, yield* Vault]
      const { get } = store
      vault.locked = true
      assert.isUndefined(yield* accountOf(key))
      vault.locked = false
      Object.assign(store, {
        get: (wanted: ConnectionKey) =>
          Effect.map(
            get(wanted),
            Option.map((connection) => ({ ...connection, account: connection.credentials.accessToken }))
          )
      })
      assert.isUndefined(yield* accountOf(key))
      assert.strictEqual((yield* connect(key)).failure, "account_unconfirmed")
      Object.assign(store, { get })
      assert.deepStrictEqual(yield* accountOf(key), ada)
    }).pipe(Effect.provide(layer)))
})

describe("a refresh that is answered with another account", () => {
  it.effect("BIND-13 I5 hands out nothing of it and asks the person, whatever the policy", () =>
    Effect.gen(function*() {
      for (const policy of ["refuse", "replace"] as const) {
        const key = yield* connected()
        const provider = yield* Provider
        yield* decide(key, policy)
        const before = yield* stored(key)
        yield* TestClock.adjust("2 hours")
        yield* signIn({ issuer, id: bob.id })
        const error = yield* Effect.flip(AccessTokens.use((tokens) => tokens.get(key)))
        assert.deepStrictEqual(
          error._tag === "TokenError" && [error.code, error.reason],
          ["reauthorization_required", "account_changed"]
        )
        const after = yield* stored(key)
        assert.deepStrictEqual([after.credentials, after.generation], [before.credentials, before.generation])
        assert.deepStrictEqual(yield* accountOf(key), ada)
        assert.include(yield* actions(key), "token.refresh_failed account_changed")
        assert.deepStrictEqual(yield* revoked, [])
        // The right account heals it.
        yield* signIn(ada)
        assert.strictEqual((yield* connect(key)).state, "completed")
        assert.strictEqual(yield* tokenOf(key), provider.issued.at(-1))
      }
    }).pipe(Effect.provide(layer)))

  it.effect("says account_changed also after an attempt without an answer", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      const provider = yield* Provider
      yield* TestClock.adjust("2 hours")
      let attempts = 0
      provider.refresh = (issue) =>
        attempts++ === 0
          ? refuse({ _tag: "UnknownOutcome" })
          : Effect.map(issue, (credentials) => ({ ...credentials, account: bob }))
      const asked = yield* Effect.forkChild(Effect.flip(AccessTokens.use((tokens) => tokens.get(key))))
      yield* TestClock.adjust("1 minute")
      const error = yield* Fiber.join(asked)
      assert.strictEqual(attempts, 2)
      assert.strictEqual(error._tag === "TokenError" && error.reason, "account_changed")
    }).pipe(Effect.provide(layer)))

  it.effect("goes on when it names the same account, or nobody, or where nobody was known", () =>
    Effect.gen(function*() {
      const key = yield* connected()
      for (const account of [{ issuer, id: ada.id }, undefined]) {
        yield* TestClock.adjust("2 hours")
        yield* signIn(account)
        assert.strictEqual(yield* tokenOf(key), (yield* Provider).issued.at(-1))
        assert.deepStrictEqual(yield* accountOf(key), ada)
      }
      const other = yield* keyOf("other")
      yield* connect(other)
      yield* TestClock.adjust("2 hours")
      yield* signIn(bob)
      yield* tokenOf(other)
      assert.isUndefined(yield* accountOf(other))
    }).pipe(Effect.provide(layer)))
})

describe("the nonce of a flow", () => {
  const nonces = Effect.fnUntraced(function*(description: Parameters<Servers["Service"]["put"]>[2]) {
    const key = yield* keyOf("mcp")
    yield* (yield* Servers).put(key.tenant, key.server, description)
    yield* connect(key)
    return (yield* Provider).nonces.splice(0)
  })

  it.effect("TOK-23 goes with the scope openid, is the same at the exchange, and of one flow alone", () =>
    Effect.gen(function*() {
      const openid = { resource: "https://mcp.example/mcp", scopes: ["openid", "read"], quirks: {} }
      const [sent, expected] = yield* nonces(openid)
      assert.match(sent ?? "", /^[\w-]{43}$/)
      assert.strictEqual(expected, sent)
      const [again] = yield* nonces(openid)
      assert.notStrictEqual(again, sent)
      const { verifiers } = yield* Provider
      assert.notInclude(verifiers, sent)
    }).pipe(Effect.provide(layer)))

  it.effect("is left out where no ID token is asked for, or nobody said whose it would be", () =>
    Effect.gen(function*() {
      const resource = "https://mcp.example/mcp"
      const endpoints = { authorization: "https://as.example/authorize", token: "https://as.example/token" }
      assert.deepStrictEqual(yield* nonces({ resource, scopes: ["read"], quirks: {} }), [undefined, undefined])
      const guessed = { resource, scopes: ["openid"], endpoints, quirks: {} }
      assert.deepStrictEqual(yield* nonces(guessed), [undefined, undefined])
      const [sent] = yield* nonces({ ...guessed, issuer })
      assert.isDefined(sent)
    }).pipe(Effect.provide(layer)))
})
