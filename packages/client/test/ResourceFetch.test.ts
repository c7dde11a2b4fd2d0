import { assert, describe, it } from "@effect/vitest"
import * as LoopbackServer from "@valetkey/testing/LoopbackServer"
import { Context, Effect, Layer, Redacted, type Scope, Stream } from "effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { ServerResponse } from "node:http"
import { readBearer } from "../src/BearerChallenge.ts"
import * as Promises from "../src/Promises.ts"
import * as TokenHttpClient from "../src/TokenHttpClient.ts"
import { ValetkeyClient } from "../src/ValetkeyClient.ts"
import * as StubServer from "./StubServer.ts"

interface Seen {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly body: string
}

/** A resource on 127.0.0.1 and what it saw. */
const resource = (answer: (seen: Seen, response: ServerResponse) => void) =>
  Effect.gen(function*() {
    const seen: Array<Seen> = []
    const { origin } = yield* LoopbackServer.listen((request, response) => {
      let body = ""
      request.on("data", (piece) => body += String(piece))
      request.on("end", () => {
        const one = { method: request.method!, url: request.url!, authorization: request.headers.authorization, body }
        seen.push(one)
        answer(one, response)
      })
    })
    return { origin, seen }
  })

/** A Valetkey server with one connection whose token counts its refreshes. */
const vault = (of: () => string | undefined) =>
  Effect.gen(function*() {
    let generation = 1
    const stub = yield* StubServer.make(({ body, method, url }, response) => {
      if (method === "GET") {
        return StubServer.json(response, 200, {
          server: "notes",
          resource: "http://127.0.0.1:1/from-server",
          quirks: {}
        })
      }
      if (!url.includes("/notes/")) return void response.writeHead(500).end()
      if ((JSON.parse(body) as { rejectedToken?: string }).rejectedToken === `token-${generation}`) generation++
      const named = of()
      StubServer.json(response, 200, {
        accessToken: `token-${generation}`,
        tokenType: "Bearer",
        generation,
        scopes: ["read"],
        ...(named === undefined ? {} : { resource: named })
      })
    })
    return { ...stub, redemptions: () => generation - 1 }
  })

interface Answer {
  readonly status: number
  readonly text: string
}

interface Wish {
  readonly method?: "GET" | "POST"
  readonly body?: string
  readonly streamed?: boolean
}

type Ask = (url: string, wish?: Wish) => Effect.Effect<Answer, { readonly code: string; readonly scopes?: unknown }>

/** The same request through the `fetch` and through the `HttpClient`. */
const ways = (stub: StubServer.StubServer): Effect.Effect<ReadonlyArray<Ask>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => Promises.connect({ url: stub.url, token: "t" })),
      (client) => Effect.promise(() => client.close())
    )
    const notes = client.fetch("notes")
    const byFetch: Ask = (url, { body, method = "GET", streamed } = {}) =>
      Effect.tryPromise({
        try: async () => {
          const response = await notes(url, {
            method,
            headers: { authorization: "Basic mine" },
            ...(body === undefined ? {} : { body: streamed === true ? new Blob([body]).stream() : body })
          })
          return { status: response.status, text: await response.text() }
        },
        catch: (error) => error as { readonly code: string }
      })
    const context = yield* Layer.build(
      TokenHttpClient.layer("notes").pipe(
        Layer.provide(FetchHttpClient.layer),
        Layer.provide(ValetkeyClient.layerUrl({ url: stub.url, token: Redacted.make("t") }))
      )
    )
    const http = Context.get(context, HttpClient.HttpClient)
    const byEffect: Ask = (url, { body, method = "GET", streamed } = {}) => {
      const request = HttpClientRequest.make(method)(url)
      const bytes = Buffer.from(body ?? "")
      return http.execute(
        body === undefined
          ? request
          : streamed === true
          ? HttpClientRequest.bodyStream(request, Stream.make(Uint8Array.from(bytes)))
          : HttpClientRequest.bodyText(request, body)
      ).pipe(
        Effect.flatMap((response) => Effect.map(response.text, (text) => ({ status: response.status, text }))),
        Effect.mapError((error) => TokenHttpClient.resourceErrorOf(error) ?? { code: error.reason._tag })
      )
    }
    return [byFetch, byEffect]
  })

describe("a request with a token of a server", () => {
  it.live("PROX-06 is made once more when the token is refused, body and all, and replaces nothing that is replaced", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* resource(({ authorization, body }, response) =>
        response.writeHead(authorization === "Bearer token-1" ? 401 : 200).end(body)
      )
      for (const index of [0, 1]) {
        const stub = yield* vault(() => api.origin)
        const ask = (yield* ways(stub))[index]!
        api.seen.length = 0
        assert.deepStrictEqual(yield* ask(`${api.origin}/x`, { method: "POST", body: "b" }), { status: 200, text: "b" })
        assert.deepStrictEqual(api.seen.map(({ authorization, body }) => [authorization, body]), [
          ["Bearer token-1", "b"],
          ["Bearer token-2", "b"]
        ])
        assert.strictEqual((yield* ask(`${api.origin}/x`)).status, 200)
        assert.strictEqual(stub.redemptions(), 1)
      }
    })))

  it.live("PROX-06 S4.53 whose body is gone keeps its 401, and the next one has a new token", () =>
    Effect.scoped(Effect.gen(function*() {
      let bad = "Bearer token-1"
      const api = yield* resource(({ authorization }, response) =>
        response.writeHead(authorization === bad ? 401 : 200).end()
      )
      for (const index of [0, 1]) {
        const stub = yield* vault(() => api.origin)
        const ask = (yield* ways(stub))[index]!
        bad = "Bearer token-1"
        api.seen.length = 0
        const wish = { method: "POST", body: "b", streamed: true } as const
        assert.strictEqual((yield* ask(`${api.origin}/x`, wish)).status, 401)
        assert.lengthOf(api.seen, 1)
        assert.strictEqual((yield* ask(`${api.origin}/x`, wish)).status, 200)
        bad = "Bearer token-2"
        assert.strictEqual((yield* ask(`${api.origin}/x`)).status, 200)
        assert.strictEqual(stub.redemptions(), 2)
      }
    })))

  it.live("PROX-06 is not made a third time", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* resource((_, response) => response.writeHead(401).end("no"))
      for (const index of [0, 1]) {
        const stub = yield* vault(() => api.origin)
        api.seen.length = 0
        assert.deepStrictEqual(yield* (yield* ways(stub))[index]!(`${api.origin}/x`), { status: 401, text: "no" })
        assert.lengthOf(api.seen, 2)
      }
    })))

  it.live("PROX-02 PROX-05 goes to the origin of its server alone, whatever is asked and wherever it is redirected", () =>
    Effect.scoped(Effect.gen(function*() {
      const evil = yield* resource((_, response) => response.end("stolen"))
      let location = ""
      const api = yield* resource((_, response) => response.writeHead(307, { location }).end("moved"))
      let named: string | undefined = `${api.origin}/mcp`
      const stub = yield* vault(() => named)
      for (const ask of yield* ways(stub)) {
        for (const url of [evil.origin, api.origin.replace("127.0.0.1", "localhost"), "data:,x", "blob:null/x"]) {
          assert.strictEqual((yield* Effect.flip(ask(url))).code, "origin_refused_for_token", url)
        }
        named = undefined
        assert.strictEqual((yield* Effect.flip(ask(api.origin))).code, "origin_refused_for_token", "by its server")
        named = "nonsense"
        assert.strictEqual((yield* Effect.flip(ask(api.origin))).code, "origin_refused_for_token")
        named = `${api.origin}/mcp`
        for (location of [`${evil.origin}/`, `//${new URL(evil.origin).host}/`]) {
          assert.deepStrictEqual(yield* ask(`${api.origin}/x`), { status: 307, text: "moved" })
        }
      }
      assert.lengthOf(evil.seen, 0)
    })))

  it.live("EXT-03 sends no nonce on that is none, as two headers that were joined, and replaces no token for it", () =>
    Effect.scoped(Effect.gen(function*() {
      let nonces: Array<string> = []
      const challenge = "Bearer error=\"invalid_token\", DPoP error=\"use_dpop_nonce\""
      const api = yield* resource(({ url }, response) =>
        response.writeHead(url === "/x" ? 200 : 401, { "dpop-nonce": nonces, "www-authenticate": challenge }).end()
      )
      const demanded: Array<unknown> = []
      const stub = yield* StubServer.make(({ body }, response) => {
        const { proof, rejectedToken } = JSON.parse(body) as {
          readonly proof?: { readonly nonce?: string }
          readonly rejectedToken?: string
        }
        if (proof === undefined) {
          const problem = { type: "urn:valetkey:error:token_not_handed_out", title: "t", status: 403, detail: "d" }
          return StubServer.json(
            response,
            403,
            { ...problem, code: "token_not_handed_out" },
            "application/problem+json"
          )
        }
        demanded.push(rejectedToken ?? proof.nonce)
        const token = { accessToken: "t", tokenType: "DPoP", proof: "p", generation: 1, resource: api.origin }
        StubServer.json(response, 200, token)
      })
      for (const ask of yield* ways(stub)) {
        demanded.length = 0
        for (const given of [["n1"], ["n1", "n2"], [""], []]) {
          nonces = given
          assert.deepStrictEqual(yield* ask(`${api.origin}/x`), { status: 200, text: "" })
        }
        assert.deepStrictEqual(demanded, [undefined, "n1", "n1", "n1"])
        nonces = ["n2", "n3"]
        assert.strictEqual((yield* ask(`${api.origin}/y`)).status, 401)
        assert.deepStrictEqual(demanded.slice(4), ["n1"])
      }
    })))

  it.live("PROX-08 fails with the scopes to ask for when the resource names them, and refreshes nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      let challenge = "Bearer realm=\"a\", error=\"insufficient_scope\", scope=\"write read\""
      const api = yield* resource((_, response) => response.writeHead(403, { "www-authenticate": challenge }).end("no"))
      const stub = yield* vault(() => api.origin)
      for (const ask of yield* ways(stub)) {
        challenge = "Bearer realm=\"a\", error=\"insufficient_scope\", scope=\"write read\""
        const error = yield* Effect.flip(ask(`${api.origin}/x`))
        assert.deepStrictEqual([error.code, error.scopes], ["insufficient_scope", ["read", "write"]])
        challenge = "Bearer error=\"invalid_token\""
        assert.deepStrictEqual(yield* ask(`${api.origin}/x`), { status: 403, text: "no" })
      }
      assert.strictEqual(stub.redemptions(), 0)
    })))
})

describe("fetch", () => {
  it.live("follows redirects within the origin as fetch does, with a token each time", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* resource(({ url }, response) => {
        const status = Number(/^\/to-(\d+)/.exec(url)?.[1])
        if (url === "/loop") return void response.writeHead(302, { location: "/loop" }).end()
        if (status > 0) return void response.writeHead(status, { location: "/end" }).end()
        response.end("end")
      })
      const stub = yield* vault(() => api.origin)
      const client = Promises.connect({ url: stub.url, token: "t" })
      const notes = client.fetch("notes")
      const post = (path: string, init: RequestInit = {}) =>
        Effect.promise(() => notes(`${api.origin}${path}`, { method: "POST", body: "b", ...init }))
      for (
        const [status, method, body] of [["302", "GET", ""], ["303", "GET", ""], ["307", "POST", "b"], [
          "308",
          "POST",
          "b"
        ]] as const
      ) {
        const answer = yield* post(`/to-${status}`)
        assert.strictEqual(yield* Effect.promise(() => answer.text()), "end")
        assert.deepInclude(api.seen.at(-1), { url: "/end", method, body, authorization: "Bearer token-1" })
      }
      assert.strictEqual((yield* post("/to-307", { redirect: "manual" })).status, 307)
      assert.strictEqual((yield* post("/to-307", { body: new Blob(["b"]).stream() })).status, 307)
      const refused = yield* Effect.promise(() =>
        notes(`${api.origin}/to-302`, { redirect: "error" }).then(() => undefined, (error: unknown) => error)
      )
      assert.instanceOf(refused, TypeError)
      const before = api.seen.length
      assert.strictEqual((yield* post("/loop")).status, 302)
      assert.strictEqual(api.seen.length, before + 6)
      const controller = new AbortController()
      controller.abort(new Error("mine"))
      const aborted = yield* Effect.promise(() =>
        notes(new Request(`${api.origin}/x`, { signal: controller.signal })).then(
          () => undefined,
          (error: unknown) => error
        )
      )
      assert.instanceOf(aborted, Error)
      yield* Effect.promise(() => client.close())
    })))
})

describe("readBearer", () => {
  it("reads the challenge that names an error, among others and in any spelling", () => {
    const insufficient = { error: "insufficient_scope", scopes: ["a", "b"] }
    for (
      const header of [
        "Bearer error=\"insufficient_scope\", scope=\"a b\"",
        "bearer scope=\"a  b\" , ERROR=insufficient_scope",
        "Basic realm=\"x, Bearer error=\\\"y\\\"\", Bearer realm=r, error=\"insufficient_scope\", scope=\"a b\", Digest error=z",
        "Bearer realm=\"first\", Bearer error=\"insufficient_scope\", scope=\"a b\""
      ]
    ) assert.deepStrictEqual(readBearer(header), insufficient, header)
    assert.isUndefined(readBearer(null))
    assert.isUndefined(readBearer("Basic realm=\"x\""))
    assert.isUndefined(readBearer(`Bearer error="${"x".repeat(9000)}"`))
  })
})
