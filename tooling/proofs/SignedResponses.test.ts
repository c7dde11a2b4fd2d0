import { assert, describe, it } from "@effect/vitest"
import { CallbackReceived } from "@valetkey/domain/Authorization"
import { Flows, type StartOptions } from "@valetkey/domain/Flows"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import type { Server } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Option, Redacted, Result } from "effect"
import * as Installation from "./Installation.ts"

const installed = Effect.provide(Installation.layer(MemoryStore.layer))

/** A provider whose every key is for ES256, which is not what clients get that name no algorithm. */
const signing = (options: OidcProvider.Options = {}) =>
  Effect.gen(function*() {
    const provider = yield* OidcProvider.make({
      signsResponses: true,
      ...options,
      metadata: { response_modes_supported: ["query.jwt", "jwt", "form_post"], ...options.metadata }
    })
    return { provider, resource: yield* McpResource.make(provider) }
  })

/** A flow that was started, its answer not sent yet. */
const started = Effect.fnUntraced(
  function*(resource: string, options: StartOptions = {}, quirks: Server["quirks"] = {}) {
    const key = yield* Installation.describe(resource)
    yield* (yield* Servers).put(key.tenant, key.server, { resource, quirks })
    const flow = yield* (yield* Flows).start(key, { reauthorize: true, onConflict: "supersede", ...options })
    if (flow._tag !== "Started") return yield* Effect.die(flow._tag)
    const url = new URL(Redacted.value(flow.authorizationUrl))
    const { id } = flow.flow
    return { key, url, owner: { id, tenant: key.tenant, subject: key.subject } }
  }
)

const settled = (owner: Parameters<Flows["Service"]["status"]>[0]) =>
  Effect.flatMap(Flows, (flows) => flows.wait(owner, "10 seconds"))

const tokenRequests = ({ log }: OidcProvider.OidcProvider) => log.filter(({ kind }) => kind === "token").length

describe("signed authorization responses", () => {
  it.live("are asked for where there are no others, by a client that registered for them, over a loopback listener", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, resource } = yield* signing()
      yield* Effect.gen(function*() {
        const person = UserAgent.make()
        const denied = yield* started(resource.url)
        assert.strictEqual(denied.url.searchParams.get("response_mode"), "query.jwt")
        yield* person.authorize(denied.url, { deny: true })
        assert.strictEqual((yield* settled(denied.owner)).failure, "access_denied")
        assert.strictEqual(tokenRequests(provider), 0)
        const { owner, url } = yield* started(resource.url)
        const landing = yield* person.callbackUrl(url, url.searchParams.get("redirect_uri")!)
        assert.deepStrictEqual([...landing.searchParams.keys()], ["response"])
        yield* person.authorize(landing)
        assert.strictEqual((yield* settled(owner)).state, "completed")
        assert.strictEqual(tokenRequests(provider), 1)
      }).pipe(installed)
    })))

  it.live("EXT-04 are asked for in a pushed request, and taken over the gateway and from its owner's hand", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, resource } = yield* signing({
        requirePushedAuthorizationRequests: true,
        metadata: { response_modes_supported: ["query", "jwt"] }
      })
      yield* Effect.gen(function*() {
        const flows = yield* Flows
        const person = UserAgent.make()
        const key = yield* Installation.describe(resource.url)
        yield* (yield* Servers).put(key.tenant, key.server, {
          resource: resource.url,
          quirks: { signedResponses: true }
        })
        const offered = yield* flows.start(key, { transport: "gateway" })
        if (offered._tag !== "Offered") return assert.fail(offered._tag)
        const ticket = Redacted.make(Redacted.value(offered.connectUrl).split("/").at(-1)!)
        const browser = Redacted.make("a browser's secret")
        const { authorizationUrl } = Option.getOrThrow(yield* flows.depart(ticket, browser))
        const landing = yield* person.leave(Redacted.value(authorizationUrl))
        const context = landing.pathname.split("/").at(-1)!
        const received = Result.getOrThrow(CallbackReceived.parse(landing.searchParams))
        const stranger = yield* Effect.flip(flows.complete(received, { context, browser: () => Redacted.make("x") }))
        assert.strictEqual(stranger.code, "callback_unknown")
        const delivery = yield* flows.complete(received, { context, browser: () => browser })
        assert.strictEqual((yield* delivery.settled).state, "completed")

        const { owner, url } = yield* started(resource.url, { transport: "loopback" }, { signedResponses: true })
        const place = yield* person.leave(url)
        assert.isTrue(place.searchParams.has("response"))
        assert.strictEqual((yield* flows.paste(owner, Redacted.make(place.href))).state, "completed")
        assert.strictEqual(tokenRequests(provider), 2)
      }).pipe(installed)
    })))

  it.live("EXT-07 DISC-01 are no other flow's, no plain ones, none of another server, and not to be altered", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, resource } = yield* signing()
      yield* Effect.gen(function*() {
        const person = UserAgent.make()
        const landingOf = (url: URL) => person.callbackUrl(url, url.searchParams.get("redirect_uri")!)
        const arriving = Effect.fnUntraced(function*(change: (landing: URL) => void, quirks: Server["quirks"] = {}) {
          const { owner, url } = yield* started(resource.url, {}, quirks)
          const landing = yield* landingOf(url)
          change(landing)
          const page = yield* person.request(landing)
          return { owner, page }
        })
        const payloadOf = (landing: URL): Record<string, string> =>
          JSON.parse(Buffer.from(landing.searchParams.get("response")!.split(".")[1]!, "base64url").toString())
        const altered = (landing: URL, more: Record<string, unknown>) => {
          const [header, , signature] = landing.searchParams.get("response")!.split(".")
          const payload = Buffer.from(JSON.stringify({ ...payloadOf(landing), ...more })).toString("base64url")
          landing.searchParams.set("response", `${header}.${payload}.${signature}`)
        }
        const failing: ReadonlyArray<readonly [string, (landing: URL) => void]> = [
          ["response_mode_mismatch", (landing) => {
            const { code, iss, state } = payloadOf(landing)
            landing.search = new URLSearchParams({ code: code!, iss: iss!, state: state! }).toString()
          }],
          ["response_untrusted", (landing) => altered(landing, { code: "another" })],
          ["response_untrusted", (landing) => altered(landing, { iss: "https://evil.example" })]
        ]
        for (const [failure, change] of failing) {
          const { owner } = yield* arriving(change)
          assert.strictEqual((yield* settled(owner)).failure, failure)
        }
        const refused: ReadonlyArray<(landing: URL) => void> = [
          (landing) => landing.searchParams.append("response", landing.searchParams.get("response")!),
          (landing) => landing.searchParams.append("state", payloadOf(landing)["state"]!),
          (landing) => landing.searchParams.append("code", payloadOf(landing)["code"]!),
          (landing) => landing.searchParams.set("response", "e30.e30.e30"),
          (landing) => altered(landing, { state: "junk" }),
          (landing) => altered(landing, { more: "x".repeat(24_000) })
        ]
        for (const change of refused) {
          const { owner, page } = yield* arriving(change)
          assert.strictEqual(page.status, 400)
          assert.strictEqual((yield* (yield* Flows).status(owner)).state, "pending")
        }
        // One that nobody asked for, signed as it should be.
        const plain = yield* started(resource.url, {}, { signedResponses: false })
        plain.url.searchParams.set("response_mode", "query.jwt")
        assert.strictEqual((yield* person.request(yield* landingOf(plain.url))).status, 400)
        assert.strictEqual((yield* (yield* Flows).status(plain.owner)).state, "pending")
        assert.strictEqual(tokenRequests(provider), 0)
      }).pipe(installed)
    })))

  it.live("are registered for, and not left to a document that names no algorithm", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, resource } = yield* signing()
      yield* Effect.gen(function*() {
        const clientOf = Effect.fnUntraced(function*(quirks: Server["quirks"]) {
          const { key, url } = yield* started(resource.url, {
            confirmation: "finalize",
            returnTo: Installation.returnTo,
            transport: "gateway"
          }, quirks)
          const { server, tenant } = key
          const { issuer } = provider
          const kept = yield* (yield* RegistrationStore).get({ tenant, server, issuer, transport: "gateway" })
          return { id: url.searchParams.get("client_id"), kept: Option.isSome(kept) }
        })
        const described = yield* clientOf({ signedResponses: false })
        assert.match(String(described.id), /^https:.*client-metadata\.json$/)
        assert.isFalse(described.kept)
        const registered = yield* clientOf({})
        assert.notStrictEqual(registered.id, described.id)
        assert.isTrue(registered.kept)
      }).pipe(installed)
    })))
})
