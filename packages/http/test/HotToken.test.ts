import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Cipher } from "@valetkey/domain/Cipher"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as Canary from "@valetkey/testing/Canary"
import { Context, Deferred, Effect, Layer, Redacted } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import * as HotToken from "../src/HotToken.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { deposit, jwt, proofKey, sign } from "./Caller.ts"
import { layerWorld } from "./Harness.ts"
import { Script } from "./Script.ts"

/** Two listeners over one world: one with the short way, one without, and what the short way did with each request. */
class Pair extends Context.Service<Pair, {
  readonly hot: Server
  readonly plain: Server
  readonly taken: Array<"hit" | "left" | "replayed">
}>()("test/Pair") {}

const layer = Layer.effect(
  Pair,
  Effect.gen(function*() {
    const pair = { hot: createServer(), plain: createServer(), taken: [] as Array<"hit" | "left" | "replayed"> }
    const hot = yield* HotToken.make()
    HotToken.attach(pair.hot, (request, response, fallback) => {
      const index = pair.taken.push("hit") - 1
      const took = hot(request, response, (replayed, answer) => {
        pair.taken[index] = "replayed"
        fallback(replayed, answer)
      })
      if (!took) pair.taken[index] = "left"
      return took
    })
    for (const server of [pair.hot, pair.plain]) {
      const listening = yield* Deferred.make<void>()
      server.once("listening", () => Deferred.doneUnsafe(listening, Effect.void))
      yield* Effect.forkScoped(Layer.launch(
        HttpRouter.serve(Routes.layerApi(), { disableLogger: true, disableListenLog: true }).pipe(
          Layer.provide(NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 }))
        )
      ))
      yield* Deferred.await(listening)
    }
    return pair
  })
).pipe(
  Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
  Layer.provideMerge(layerWorld())
)

interface Wish {
  readonly path?: string
  readonly token?: string | undefined
  readonly body?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
}

const ask = (server: Server, { body, headers, path = "/v1/connections/notes/token", token }: Wish) =>
  Effect.promise(async () => {
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, {
      method: "POST",
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers
      },
      ...(body === undefined ? {} : { body })
    })
    const text = await response.text()
    const { correlationId: _, ...json } = JSON.parse(text) as Record<string, unknown>
    const seen = Object.fromEntries(
      [...response.headers].filter(([name]) => !["connection", "content-length", "date", "keep-alive"].includes(name))
    )
    return { status: response.status, headers: seen, json }
  })

const connectedWith = (over: Readonly<Record<string, unknown>>) =>
  Effect.gen(function*() {
    const pair = yield* Pair
    const token = yield* Effect.promise(() => sign())
    yield* Effect.promise(() =>
      fetch(`http://127.0.0.1:${(pair.plain.address() as AddressInfo).port}/v1/connections/notes`, {
        method: "PUT",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify(
          deposit({
            accessToken: Canary.makeText("access"),
            scopes: ["notes.read"],
            expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
            ...over
          })
        )
      })
    )
    return { ...pair, token }
  })

const connected = connectedWith({})

describe("HotToken", () => {
  it.live("answers a plain hit as the contract does, and leaves everything else to it", () =>
    Effect.gen(function*() {
      const { hot, plain, taken, token } = yield* connected
      const weak = yield* Effect.promise(() => sign({ scope: "connections:read" }))
      const cases: ReadonlyArray<readonly [typeof taken[number], Wish]> = [
        ["hit", { token }],
        ["hit", { token, body: "{}" }],
        ["hit", { token, body: "null" }],
        ["hit", { token, body: "{\"minValiditySeconds\":60}" }],
        ["hit", { token, body: "{\"minValiditySeconds\":0}" }],
        ["left", {}],
        ["left", { token: "nonsense" }],
        ["left", { token: weak }],
        ["left", { token, headers: { origin: "https://evil.example" } }],
        ["left", { token, path: "/v1/connections/notes/token?x=1" }],
        ["left", { token, path: "/v1/connections/UPPER/token" }],
        ["left", { token, body: "{}", headers: { "content-type": "text/plain" } }],
        ["left", { token, body: `{"rejectedToken":"${"x".repeat(2000)}"}` }],
        ["replayed", { token, path: "/v1/connections/nothing/token" }],
        ["replayed", { token, body: "{" }],
        ["replayed", { token, body: "[]" }],
        ["replayed", { token, body: "\"x\"" }],
        ["replayed", { token, body: "{\"isAdmin\":true}" }],
        ["replayed", { token, body: "{\"minValiditySeconds\":-1}" }],
        ["replayed", { token, body: "{\"minValiditySeconds\":1.5}" }],
        ["replayed", { token, body: "{\"minValiditySeconds\":86401}" }],
        ["replayed", { token, body: "{\"minValiditySeconds\":\"60\"}" }],
        ["replayed", { token, body: "{\"minValiditySeconds\":null}" }],
        ["replayed", { token, body: "{\"rejectedToken\":\"\"}" }]
      ]
      for (const [way, wish] of cases) {
        const expected = yield* ask(plain, wish)
        const actual = yield* ask(hot, wish)
        const name = JSON.stringify({ path: wish.path, body: wish.body?.slice(0, 40), headers: wish.headers })
        assert.deepStrictEqual(actual, expected, name)
        assert.strictEqual(taken.at(-1), way, name)
      }
    }).pipe(Effect.provide(layer)))

  it.live("refreshes through the contract when the caller saw the token refused", () =>
    Effect.gen(function*() {
      const { hot, taken, token } = yield* connected
      const first = yield* ask(hot, { token })
      const fresh = yield* ask(hot, { token, body: JSON.stringify({ rejectedToken: first.json["accessToken"] }) })
      assert.strictEqual(fresh.json["generation"], 2)
      assert.strictEqual(taken.at(-1), "replayed")
      assert.strictEqual((yield* Script).calls.filter((call) => call === "server.refresh").length, 1)
      assert.deepStrictEqual((yield* ask(hot, { token })).json, fresh.json)
      assert.strictEqual(taken.at(-1), "hit")
    }).pipe(Effect.provide(layer)))

  it.live("EXT-03 leaves a token that is bound to a key to the contract, which keeps it", () =>
    Effect.gen(function*() {
      const { hot, taken, token } = yield* connectedWith({ tokenType: "DPoP", proofKey: proofKey() })
      const { json, status } = yield* ask(hot, { token })
      assert.deepStrictEqual([status, json["code"]], [403, "token_not_handed_out"])
      assert.strictEqual(taken.at(-1), "replayed")
    }).pipe(Effect.provide(layer)))

  it.live("leaves a token that is about to end to the contract, which has it renewed", () =>
    Effect.gen(function*() {
      const { hot, taken, token } = yield* connected
      const first = yield* ask(hot, { token })
      assert.strictEqual(taken.at(-1), "hit")
      Object.assign(yield* AccessTokens, { isDue: () => true })
      assert.deepStrictEqual((yield* ask(hot, { token })).json, first.json)
      assert.strictEqual(taken.at(-1), "replayed")
    }).pipe(Effect.provide(layer)))

  it.live("leaves a token that nobody obtained yet to the contract, whatever its times say", () =>
    Effect.gen(function*() {
      const { hot, taken, token } = yield* connected
      const { json } = yield* ask(hot, { token })
      const cipher = yield* Cipher
      const { open } = cipher
      Object.assign(cipher, {
        open: (...input: Parameters<typeof open>) =>
          input[0].field === "access_token" && input[0].generation === 1
            ? Effect.succeed(Redacted.make(""))
            : open(...input)
      })
      const fresh = yield* ask(hot, { token })
      assert.strictEqual(taken.at(-1), "replayed")
      assert.deepStrictEqual([fresh.status, fresh.json["generation"]], [200, 2])
      assert.notStrictEqual(fresh.json["accessToken"], json["accessToken"])
    }).pipe(Effect.provide(layer)))

  it.live("API-02 I23 gives nothing of another caller's connection, and nothing after it is ended", () =>
    Effect.gen(function*() {
      const { hot, token } = yield* connected
      const stranger = yield* Effect.promise(() => sign({ sub: "grace" }))
      for (const _ of [1, 2]) assert.strictEqual((yield* ask(hot, { token: stranger })).status, 404)
      assert.strictEqual((yield* ask(hot, { token })).status, 200)
      yield* (yield* Connections).disconnect(
        new ConnectionKey({
          tenant: TenantId.make("acme"),
          subject: SubjectId.make("ada"),
          server: ServerSlug.make("notes")
        })
      )
      assert.strictEqual((yield* ask(hot, { token })).status, 404)
    }).pipe(Effect.provide(layer)))
})
