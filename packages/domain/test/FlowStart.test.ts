import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { TransportError } from "@valetkey/domain/CallbackTransport"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { type ServerDescription, Servers } from "@valetkey/domain/Servers"
import * as Canary from "@valetkey/testing/Canary"
import { DateTime, Deferred, Effect, Exit, Fiber, Latch, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { begin, Browser, comeBack, connect, keyOf, layer, Provider, refuse, response, Vault } from "./World.ts"

describe("Flows.start", () => {
  it.effect("S1.1 S1.5 gives an authorization URL and a pending flow before any callback", () =>
    Effect.gen(function*() {
      const { authorizationUrl, owner } = yield* begin("mcp")
      assert.isTrue(Redacted.value(authorizationUrl).startsWith("https://as.example/authorize?"))
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "pending")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.2 S1.3 FLOW-03 FLOW-28 makes a fresh state and verifier of 256 bits for every run", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const runs = yield* Effect.forEach(Array.from({ length: 200 }), (_, index) => begin(`mcp-${index}`))
      const states = runs.map(({ authorizationUrl }) =>
        new URL(Redacted.value(authorizationUrl)).searchParams.get("state")!
      )
      for (const state of states) assert.match(state, /^[\w-]{70}$/)
      for (const verifier of provider.verifiers) assert.match(verifier, /^[\w-]{43}$/)
      assert.strictEqual(new Set([...states, ...provider.verifiers]).size, 400)
      const last = runs.at(-1)!
      yield* (yield* comeBack(last.flow.id, response(last.authorizationUrl))).settled
      assert.strictEqual(provider.exchanged[0]!.codeVerifier, provider.verifiers.at(-1))
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-25 hands out nothing before the flow is stored, so that a callback may come at once", () =>
    Effect.gen(function*() {
      const store = yield* FlowStore
      const { freeze, reserve } = store
      // Stored half a second after it was asked for, both times.
      Object.assign(store, {
        reserve: (...input: Parameters<typeof reserve>) => Effect.delay(reserve(...input), "500 millis"),
        freeze: (...input: Parameters<typeof freeze>) => Effect.delay(freeze(...input), "500 millis")
      })
      const starting = yield* Effect.forkChild(begin("mcp"), { startImmediately: true })
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(starting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { authorizationUrl, flow, owner } = yield* Fiber.join(starting)
      const delivery = yield* comeBack(flow.id, response(authorizationUrl))
      yield* delivery.settled
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("S1.4 opens the transport first and uses its redirect URI in request, registration and exchange", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const { authorizationUrl, flow } = yield* begin("mcp")
      const redirectUri = (yield* Browser).open.get(flow.id)!.redirectUri
      assert.strictEqual(new URL(Redacted.value(authorizationUrl)).searchParams.get("redirect_uri"), redirectUri)
      assert.deepStrictEqual(provider.registrations, [redirectUri])
      yield* (yield* comeBack(flow.id, response(authorizationUrl))).settled
      assert.strictEqual(provider.exchanged[0]!.redirectUri, redirectUri)
    }).pipe(Effect.provide(layer)))

  it.effect("REG-02 REG-03 uses no registration of another redirect URI or issuer, and registers before it returns", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* keyOf("mcp")
      const registrations = yield* RegistrationStore
      const place = { tenant: key.tenant, server: key.server, transport: "gateway" as const }
      const old = (redirectUri: string) => ({
        clientId: "of-old",
        authMethod: "none" as const,
        redirectUri,
        scopes: ["read"]
      })
      yield* registrations.put({ ...place, issuer: "https://as.example" }, old("https://before.example/callback/x"))
      const started = yield* (yield* Flows).start(key, { transport: "gateway", scopes: ["read"] })
      assert.strictEqual(started._tag, "Offered")
      const redirectUri = provider.registrations[0]!
      assert.match(redirectUri, /^https:\/\/valetkey\.example\/callback\//)
      const registered = yield* registrations.get({ ...place, issuer: "https://as.example" })
      assert.deepInclude(Option.getOrThrow(registered), { clientId: "client-1", redirectUri })

      const other = yield* keyOf("other")
      yield* registrations.put(
        { ...place, server: other.server, issuer: "https://another.example" },
        old(redirectUri)
      )
      yield* (yield* Flows).start(other, { transport: "gateway", scopes: ["read"] })
      assert.strictEqual(provider.registrations.length, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("REG-12 a start that dies between registering and storing leaves one client behind and nothing half stored", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* keyOf("mcp")
      const registrations = yield* RegistrationStore
      const { put } = registrations
      const [dead, died] = [yield* Latch.make(), yield* Deferred.make<never>()]
      Object.assign(registrations, { put: () => Effect.andThen(dead.open, Deferred.await(died)) })
      const flows = yield* Flows
      const start = yield* Effect.forkChild(flows.start(key))
      yield* dead.await
      yield* Fiber.interrupt(start)
      Object.assign(registrations, { put })
      const begun = yield* begin("mcp")
      assert.strictEqual(provider.registrations.length, 2)
      const clientId = new URL(Redacted.value(begun.authorizationUrl)).searchParams.get("client_id")
      const settled = yield* (yield* comeBack(begun.flow.id, response(begun.authorizationUrl))).settled
      assert.strictEqual(settled.state, "completed")
      assert.notStrictEqual(clientId, "client-1")
    }).pipe(Effect.provide(layer)))

  it.effect("REG-07 registers anew after a refresh was told that the client is unknown, and keeps the connection", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* keyOf("mcp")
      provider.lifetime = 1
      yield* connect(key)
      yield* TestClock.adjust("1 minute")
      provider.refresh = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      const error = yield* Effect.flip((yield* AccessTokens).get(key))
      assert.strictEqual(error.code, "client_misconfigured")
      const connection = Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
      assert.deepStrictEqual([connection.status._tag, connection.credentials.refreshToken !== undefined], [
        "active",
        true
      ])
      yield* connect(key)
      assert.strictEqual(provider.registrations.length, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("uses the registration on record again and opens its redirect URI", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* connect(key)
      assert.strictEqual((yield* Provider).registrations.length, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("registers anew, for all scopes so far, when the registered ones do not cover the wish", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const flows = yield* Flows
      const key = yield* keyOf("mcp")
      for (const [scopes, registrations] of [[["read"], 1], [["write"], 2], [["read", "write"], 2]] as const) {
        const started = yield* flows.start(key, { scopes, onConflict: "supersede" })
        assert.strictEqual(started._tag, "Started")
        assert.strictEqual(provider.registrations.length, registrations)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S1.8 refuses a second start while one is pending and opens one transport", () =>
    Effect.gen(function*() {
      const { flow, key } = yield* begin("mcp")
      const error = yield* Effect.flip((yield* Flows).start(key))
      assert.strictEqual(error._tag === "FlowConflict" && error.running, flow.id)
      assert.strictEqual((yield* Browser).opened, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("joins or supersedes the running flow when the caller says so", () =>
    Effect.gen(function*() {
      const { flow, key, owner } = yield* begin("mcp")
      const flows = yield* Flows
      const joined = yield* flows.start(key, { onConflict: "join" })
      assert.strictEqual(joined._tag === "Joined" && joined.flow.id, flow.id)
      const next = yield* flows.start(key, { onConflict: "supersede" })
      assert.strictEqual(next._tag, "Started")
      assert.strictEqual((yield* flows.status(owner)).state, "superseded")
      assert.strictEqual((yield* Browser).open.size, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("S1.9 lets different servers run and complete at once", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* begin("one"), yield* begin("two")]
      const settled = yield* Effect.all([one, two].map(({ authorizationUrl, flow }) =>
        Effect.flatMap(comeBack(flow.id, response(authorizationUrl)), (delivery) => delivery.settled)
      ))
      assert.deepStrictEqual(
        settled.map((flow) =>
          flow.state
        ),
        ["completed", "completed"]
      )
    }).pipe(Effect.provide(layer)))

  it.effect("S1x.1 lets the same server run for two tenants and for two users", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      for (const owner of [{}, { tenant: "other" }, { subject: "bob" }]) {
        assert.strictEqual((yield* flows.start(yield* keyOf("mcp", owner)))._tag, "Started")
      }
    }).pipe(Effect.provide(layer)))

  it.effect("S1.22 holds the slot while the listener is still binding", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const browser = yield* Browser
      const binding = yield* Latch.make()
      browser.beforeOpen = Effect.andThen(binding.open, Effect.never)
      const first = yield* Effect.forkChild(flows.start(key))
      yield* binding.await
      assert.strictEqual((yield* Effect.flip(flows.start(key)))._tag, "FlowConflict")
      yield* Fiber.interrupt(first)
    }).pipe(Effect.provide(layer)))

  it.effect("S1.23 S1.43 concurrent start race: one of 20 wins and one listener opens", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const exits = yield* Effect.all(Array.from({ length: 20 }, () => Effect.exit(flows.start(key))), {
        concurrency: "unbounded"
      })
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
      assert.strictEqual((yield* Browser).opened, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("S1.24 frees the slot when the listener cannot bind", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const browser = yield* Browser
      browser.beforeOpen = Effect.fail(new TransportError({ code: "callback_port_unavailable", transport: "loopback" }))
      assert.strictEqual((yield* Effect.flip(flows.start(key)))._tag, "TransportError")
      const latest = Option.getOrThrow(yield* flows.latest(key))
      assert.deepStrictEqual([latest.state, latest.failure], ["failed", "start_failed"])
      browser.beforeOpen = Effect.void
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("frees the slot and closes the listener when discovery fails or the caller goes away", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const provider = yield* Provider
      provider.discovery = Effect.fail(new DiscoveryError({ code: "metadata_invalid" }))
      assert.strictEqual((yield* Effect.flip(flows.start(key)))._tag, "DiscoveryError")
      const asked = yield* Latch.make()
      provider.discovery = Effect.andThen(asked.open, Effect.never)
      const gone = yield* Effect.forkChild(flows.start(key))
      yield* asked.await
      yield* Fiber.interrupt(gone)
      provider.discovery = Effect.void
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
      assert.strictEqual((yield* Browser).open.size, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("starts nothing without the encryption key and frees the slot", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      const flows = yield* Flows
      const vault = yield* Vault
      vault.locked = true
      assert.strictEqual((yield* Effect.flip(flows.start(key)))._tag, "CipherError")
      assert.strictEqual((yield* Browser).open.size, 0)
      vault.locked = false
      assert.strictEqual((yield* flows.start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))

  it.effect("S2.11 answers a live connection at once without a URL", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const flows = yield* Flows
      assert.strictEqual((yield* flows.start(key))._tag, "AlreadyConnected")
      assert.strictEqual((yield* flows.start(key, { scopes: ["write"] }))._tag, "Started")
    }).pipe(Effect.provide(layer)))
})

describe("what a start freezes", () => {
  const described = Effect.fnUntraced(function*(slug: string, description: Partial<ServerDescription>) {
    const key = yield* keyOf(slug)
    yield* (yield* Servers).put(key.tenant, key.server, {
      resource: "https://mcp.example/mcp",
      quirks: {},
      ...description
    })
    return key
  })
  const stored = Effect.fnUntraced(function*(key: ConnectionKey) {
    yield* connect(key)
    return Option.getOrThrow(yield* (yield* ConnectionStore).get(key))
  })

  it.effect("is the resource and the policy of the server, for every later refresh", () =>
    Effect.gen(function*() {
      const plain = yield* stored(yield* described("plain", {}))
      assert.deepStrictEqual([plain.grant.resource, plain.grant.redemptionPolicy], [
        "https://mcp.example/mcp",
        "retry-once"
      ])
      const quirks = { resourceParameter: false, redemptionPolicy: "strict" } as const
      const quirky = yield* stored(yield* described("quirky", { quirks }))
      assert.notProperty(quirky.grant, "resource")
      assert.strictEqual(quirky.grant.redemptionPolicy, "strict")
    }).pipe(Effect.provide(layer)))

  it.effect("TOK-07 is the scopes of the caller, else of the server; granted are those unless the provider says otherwise", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      ;(yield* Provider).answer = ({ scopes: _, ...credentials }) => credentials
      const key = yield* described("mcp", { scopes: ["read", "write"] })
      assert.deepStrictEqual((yield* stored(key)).credentials.scopes, ["read", "write"])
      const narrow = yield* flows.start(key, { scopes: ["read"], reauthorize: true })
      if (narrow._tag !== "Started") return assert.fail(narrow._tag)
      assert.strictEqual(new URL(Redacted.value(narrow.authorizationUrl)).searchParams.get("scope"), "read")
    }).pipe(Effect.provide(layer)))

  it.effect("S2x.14 is no client that needs a secret and has none: nobody is asked to consent", () =>
    Effect.gen(function*() {
      const flows = yield* Flows
      const { opened } = yield* Browser
      for (const authMethod of ["client_secret_basic", "client_secret_post"] as const) {
        const key = yield* described(authMethod.replaceAll("_", "-"), { client: { clientId: "c", authMethod } })
        const error = yield* Effect.flip(flows.start(key))
        assert.strictEqual(error.code, "client_secret_missing")
        assert.include(error.message, "describe the server again with the secret")
        const latest = Option.getOrThrow(yield* flows.latest(key))
        assert.deepStrictEqual([latest.state, latest.failure], ["failed", "start_failed"])
        const clientSecret = Canary.make("client_secret")
        yield* described(key.server, { client: { clientId: "c", authMethod, clientSecret } })
        assert.strictEqual((yield* flows.start(key))._tag, "Started")
      }
      assert.strictEqual((yield* Browser).opened - opened, 2)
      assert.deepStrictEqual((yield* Provider).registrations, [])
    }).pipe(Effect.provide(layer)))

  it.effect("is a client whose secret has not expired", () =>
    Effect.gen(function*() {
      const key = yield* keyOf("mcp")
      yield* connect(key)
      const registrations = yield* RegistrationStore
      const registrationKey = {
        tenant: key.tenant,
        server: key.server,
        issuer: "https://as.example",
        transport: "loopback" as const
      }
      const registration = Option.getOrThrow(yield* registrations.get(registrationKey))
      yield* registrations.put(registrationKey, { ...registration, clientSecretExpiresAt: yield* DateTime.now })
      yield* connect(key)
      assert.strictEqual((yield* Provider).registrations.length, 2)
    }).pipe(Effect.provide(layer)))

  it.effect("I5 asks a person whose consent was revoked, and the connection is active again", () =>
    Effect.gen(function*() {
      const provider = yield* Provider
      const key = yield* keyOf("mcp")
      yield* connect(key)
      yield* TestClock.adjust("2 hours")
      provider.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      yield* Effect.flip((yield* AccessTokens).get(key))
      assert.strictEqual((yield* (yield* Flows).start(key))._tag, "Started")
    }).pipe(Effect.provide(layer)))
})
