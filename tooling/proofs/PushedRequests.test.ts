import { assert, describe, it } from "@effect/vitest"
import { CallbackReceived } from "@valetkey/domain/Authorization"
import { Flows } from "@valetkey/domain/Flows"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { Servers } from "@valetkey/domain/Servers"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Option, Redacted, Result } from "effect"
import * as Installation from "./Installation.ts"

const installed = Effect.provide(Installation.layer(MemoryStore.layer))

/** What the browser carries, with the reference taken apart. */
const carried = (authorizationUrl: Redacted.Redacted) => {
  const { searchParams } = new URL(Redacted.value(authorizationUrl))
  return { names: [...searchParams.keys()].toSorted(), reference: searchParams.get("request_uri") }
}

describe("pushed authorization requests", () => {
  it.live("EXT-04 are made where the server takes no others, by a client that proves itself there and not in the URL", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* OidcProvider.make({
        requirePushedAuthorizationRequests: true,
        metadata: { token_endpoint_auth_methods_supported: ["private_key_jwt"] }
      })
      const resource = yield* McpResource.make(provider)
      yield* Effect.gen(function*() {
        const flows = yield* Flows
        const key = yield* Installation.describe(resource.url)
        const started = yield* flows.start(key)
        if (started._tag !== "Started") return assert.fail(started._tag)
        assert.deepStrictEqual(carried(started.authorizationUrl).names, ["client_id", "request_uri"])
        yield* UserAgent.make().authorize(Redacted.value(started.authorizationUrl))
        const { id, key: { subject, tenant } } = started.flow
        assert.strictEqual((yield* flows.wait({ id, tenant, subject }, "10 seconds")).state, "completed")
      }).pipe(installed)
      assert.deepStrictEqual(
        provider.log.map(({ kind, outcome }) => `${kind} ${outcome}`).filter((line) => !line.startsWith("intro")),
        ["registration ok", "pushed_authorization_request ok", "token ok"]
      )
    })))

  it.live("EXT-04 of a connect page are made when its browser leaves, and anew when the reference is over", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ requirePushedAuthorizationRequests: true })
      const resource = yield* McpResource.make(provider)
      yield* Effect.gen(function*() {
        const flows = yield* Flows
        const key = yield* Installation.describe(resource.url)
        yield* (yield* Servers).put(key.tenant, key.server, {
          resource: resource.url,
          quirks: { clientMetadataDocument: false }
        })
        const started = yield* flows.start(key, { transport: "gateway" })
        if (started._tag !== "Offered") return assert.fail(started._tag)
        const pushes = () => provider.log.filter(({ kind }) => kind === "pushed_authorization_request").length
        assert.strictEqual(pushes(), 0)
        const ticket = Redacted.make(Redacted.value(started.connectUrl).split("/").at(-1)!)
        const browser = Redacted.make("a browser's secret")
        const leave = Effect.map(flows.depart(ticket, browser), (found) => Option.getOrThrow(found).authorizationUrl)
        const first = yield* leave
        yield* provider.expirePushedRequests
        const late = yield* UserAgent.make().leave(Redacted.value(first))
        assert.strictEqual(late.searchParams.get("error"), "invalid_request_uri")
        const second = yield* leave
        assert.notStrictEqual(carried(second).reference, carried(first).reference)
        assert.strictEqual(pushes(), 2)
        const arrived = yield* UserAgent.make().leave(Redacted.value(second))
        const received = Result.getOrThrow(CallbackReceived.parse(arrived.searchParams))
        const context = arrived.pathname.split("/").at(-1)!
        const { settled } = yield* flows.complete(received, { context, browser: () => browser })
        assert.strictEqual((yield* settled).state, "completed")
        // One that was used is over.
        const again = yield* UserAgent.make().leave(Redacted.value(second))
        assert.strictEqual(again.searchParams.get("error"), "invalid_request_uri")
      }).pipe(installed)
    })))

  it.live("EXT-04 are refused by class, and a client that the server has forgotten is registered anew", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      yield* Effect.gen(function*() {
        const flows = yield* Flows
        const servers = yield* Servers
        const key = yield* Installation.describe(provider.resource)
        yield* servers.put(key.tenant, key.server, {
          resource: provider.resource,
          quirks: { pushedAuthorization: true, authorizationParameters: { prompt: "consent" } }
        })
        const start = flows.start(key, { onConflict: "supersede" })
        const table: ReadonlyArray<readonly [Reply.Reply, string]> = [
          [Reply.error("invalid_scope"), "authorization_request_refused"],
          [Reply.html(403), "authorization_request_refused"],
          [Reply.json(201, { expires_in: 60 }), "authorization_request_refused"],
          [Reply.json(201, { request_uri: "urn:x", expires_in: 0 }), "authorization_request_refused"],
          [Reply.json(201, { request_uri: "urn: x", expires_in: 60 }), "authorization_request_refused"],
          [Reply.error("slow_down", 429), "authorization_server_unreachable"],
          [Reply.html(503), "authorization_server_unreachable"],
          [Reply.reset, "authorization_server_unreachable"]
        ]
        for (const [reply, code] of table) {
          provider.script("pushedAuthorization", [reply])
          assert.strictEqual((yield* Effect.flip(start)).code, code)
        }
        const registrations = () => provider.requests("registration").length
        const before = registrations()
        provider.script("pushedAuthorization", [Reply.error("invalid_client", 401)])
        const started = yield* start
        assert.strictEqual(registrations(), before + 1)
        if (started._tag !== "Started") return assert.fail(started._tag)
        const { form } = provider.requests("pushedAuthorization").at(-1)!
        assert.strictEqual(form.get("prompt"), "consent")
        assert.strictEqual(form.get("code_challenge_method"), "S256")
        assert.deepStrictEqual(carried(started.authorizationUrl).names, ["client_id", "request_uri"])

        // Behind a connect page the next start is what registers.
        yield* servers.put(key.tenant, key.server, {
          resource: provider.resource,
          quirks: { pushedAuthorization: true, clientMetadataDocument: false }
        })
        const offered = yield* flows.start(key, { onConflict: "supersede", transport: "gateway" })
        if (offered._tag !== "Offered") return assert.fail(offered._tag)
        const ticket = Redacted.make(Redacted.value(offered.connectUrl).split("/").at(-1)!)
        provider.script("pushedAuthorization", [Reply.error("invalid_client", 401)])
        const refused = yield* Effect.flip(flows.depart(ticket, Redacted.make("a browser's secret")))
        assert.strictEqual(refused.code, "client_refused")
        const { server, tenant } = key
        const { issuer } = provider
        const kept = yield* (yield* RegistrationStore).get({ tenant, server, issuer, transport: "gateway" })
        assert.isTrue(Option.isNone(kept))
      }).pipe(installed)
    })))
})
