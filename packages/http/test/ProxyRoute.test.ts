import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { connect as dial } from "node:net"
import { ask, caller, connectTo, layer, Listening, post, put, upstream } from "./ProxyHarness.ts"
import { Script } from "./Script.ts"

const count = Effect.map(Script, ({ calls }) => calls.filter((call) => call === "server.refresh").length)
const bearer = (token: string) => `Bearer ${token}`

/** Sends bytes and gives what comes back until the other side closes. */
const raw = (bytes: string) =>
  Effect.flatMap(Listening, ({ port }) =>
    Effect.callback<string>((resume) => {
      const socket = dial(port, "127.0.0.1")
      let text = ""
      socket.on("data", (piece) => text += String(piece))
      socket.on("error", () => undefined)
      socket.on("close", () => resume(Effect.succeed(text)))
      socket.write(bytes)
    }))

describe("the proxy", () => {
  it.live("sends a request below the resource with the token of the connection, and its answer back", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({
        answer: (_, response) => response.writeHead(201, { "x-answer": "yes", etag: "\"1\"" }).end("made")
      })
      const token = yield* caller()
      const accessToken = yield* connectTo(token, "api", `${api.origin}/v1?team=7`)
      const answer = yield* ask({
        token,
        method: "POST",
        path: "/v1/proxy/api/notes/@me;a=b/caf%C3%A9?q=a%20b&c",
        headers: { "content-type": "text/plain", "x-mine": "1" },
        body: "hello"
      })
      assert.deepStrictEqual([answer.status, answer.text], [201, "made"])
      assert.deepStrictEqual([answer.headers["x-answer"], answer.headers["etag"]], ["yes", "\"1\""])
      const [{ body, headers, method, url }] = api.arrived as [typeof api.arrived[0]]
      assert.deepStrictEqual([method, url, body], ["POST", "/v1/notes/@me;a=b/caf%C3%A9?team=7&q=a%20b&c", "hello"])
      assert.strictEqual(headers.authorization, bearer(accessToken))
      assert.deepStrictEqual([headers["x-mine"], headers["content-length"]], ["1", "5"])
      for (const [path, arrived] of [["", "/v1?team=7"], ["/", "/v1/?team=7"], ["/a/", "/v1/a/?team=7"]]) {
        yield* ask({ token, path: `/v1/proxy/api${path}` })
        assert.strictEqual(api.arrived.at(-1)?.url, arrived)
      }
      for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]) {
        assert.strictEqual((yield* ask({ token, method, path: "/v1/proxy/api/x" })).status, 201)
        assert.strictEqual(api.arrived.at(-1)?.method, method)
      }
    })).pipe(Effect.provide(layer)))

  it.live("needs the scope proxy, and a connection of its caller", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const weak = yield* caller({ scope: "tokens:read connections:read admin" })
      const refused = yield* ask({ token: weak, path: "/v1/proxy/api/x" })
      assert.deepStrictEqual([refused.status, refused.json["requiredScopes"]], [403, ["proxy"]])
      assert.strictEqual((yield* ask({ token: "nonsense", path: "/v1/proxy/api/x" })).status, 401)
      for (const claims of [{ sub: "grace" }, { tenant: "other" }]) {
        const stranger = yield* ask({ token: yield* caller(claims), path: "/v1/proxy/api/x" })
        assert.strictEqual(stranger.status, 404)
      }
      assert.strictEqual((yield* ask({ token, path: "/v1/proxy/nothing/x" })).json["code"], "server_not_found")
      assert.lengthOf(api.arrived, 0)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-01 PROX-10 goes nowhere but below the resource, however the path is spelled", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const evil = yield* upstream({})
      const host = new URL(evil.origin).host
      const token = yield* caller()
      yield* connectTo(token, "api", `${api.origin}/v1`)
      const tails = [
        `/https://${host}/`,
        `//${host}/`,
        `/\\${host}/`,
        `\\\\${host}`,
        `@${host}/`,
        `:1@${host}/`,
        `/..//${host}/`,
        "/..",
        "/../admin",
        "/a/../../admin",
        "/./a",
        "/%2e%2e/admin",
        "/.%2E/admin",
        "/%252e%252e/admin",
        "/..;/admin",
        "/..%3b/admin",
        `/%2f%2f${host}`,
        "/a%2Fb",
        "/a%252fb",
        "/a%5cb",
        "/%0d%0aX-Injected:%201",
        "/%0D%0A",
        "/%00",
        "/a%250ab",
        "/a|b",
        "/a#b"
      ]
      for (const tail of tails) {
        const answer = yield* ask({ token, path: `/v1/proxy/api${tail}` })
        assert.strictEqual(answer.status, 400, tail)
        assert.include(["path_refused", "query_refused"], answer.json["code"], tail)
        assert.notInclude(answer.text, host)
      }
      for (
        const path of [
          "/v1/proxy",
          "/v1/proxy/",
          `/v1/proxy/https://${host}/`,
          `/v1/proxy/@${host}/x`,
          "//v1/proxy/api/x",
          "/v1/proxy/api/%zz"
        ]
      ) {
        assert.include([400, 404], (yield* ask({ token, path })).status, path)
      }
      for (
        const [name, value] of [["host", host], ["x-forwarded-host", host], ["x-original-url", `${evil.origin}/x`]]
      ) {
        const answer = yield* ask({ token, path: "/v1/proxy/api/x", headers: { [name!]: value! } })
        assert.strictEqual(answer.status, 200)
        const seen = api.arrived.at(-1)!
        assert.deepStrictEqual([seen.url, seen.headers.host], ["/v1/x", new URL(api.origin).host])
        assert.notInclude(JSON.stringify(seen), host)
      }
      const absolute = yield* raw(
        `GET http://${host}/v1/proxy/api/x HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\nconnection: close\r\n\r\n`
      )
      assert.match(absolute, /^HTTP\/1\.1 200/)
      assert.lengthOf(evil.arrived, 0)
      assert.isTrue(api.arrived.every(({ url }) => url === "/v1/x"))
    })).pipe(Effect.provide(layer)))

  it.live("PROX-02 brings each token to the resource that it was consented for, and to no other", () =>
    Effect.scoped(Effect.gen(function*() {
      const one = yield* upstream({})
      const two = yield* upstream({})
      const token = yield* caller()
      const first = yield* connectTo(token, "one", `${one.origin}/v1`)
      const second = yield* connectTo(token, "two", two.origin)
      for (const server of ["one", "two", "one"]) yield* ask({ token, path: `/v1/proxy/${server}/x` })
      assert.deepStrictEqual(one.arrived.map(({ headers }) => headers.authorization), [bearer(first), bearer(first)])
      assert.deepStrictEqual(two.arrived.map(({ headers }) => headers.authorization), [bearer(second)])

      for (const resource of [two.origin, `${two.origin}/v1`, `${one.origin}/v2`, one.origin, `${one.origin}/v10`]) {
        yield* put(token, "/v1/servers/one", { resource })
        const moved = yield* ask({ token, path: "/v1/proxy/one/x" })
        assert.deepStrictEqual([moved.status, moved.json["code"]], [409, "resource_changed"], resource)
      }
      yield* put(token, "/v1/servers/one", { resource: `${one.origin}/v1/narrower` })
      assert.strictEqual((yield* ask({ token, path: "/v1/proxy/one/x" })).status, 200)
      assert.lengthOf(one.arrived, 3)
      assert.lengthOf(two.arrived, 1)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-03 keeps what is between the caller and this server from the resource", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const token = yield* caller()
      const accessToken = yield* connectTo(token, "api", api.origin)
      const mine = {
        cookie: "session=hunter2",
        "x-api-key": "hunter2",
        "proxy-authorization": "Basic hunter2",
        "x-valetkey-anything": "hunter2",
        "x-forwarded-for": "10.9.8.7",
        "x-forwarded-proto": "https",
        forwarded: "for=10.9.8.7",
        "x-real-ip": "10.9.8.7",
        via: "1.1 hunter2",
        referer: "https://hunter2.example/",
        traceparent: "00-11111111111111111111111111111111-2222222222222222-01",
        baggage: "user=hunter2",
        "x-copy-of-it": `token ${token}`,
        "x-http-method-override": "DELETE"
      }
      yield* ask({ token, path: "/v1/proxy/api/x", headers: { ...mine, accept: "text/plain", "x-kept": "yes" } })
      const { headers } = api.arrived[0]!
      for (const name of Object.keys(mine)) assert.notProperty(headers, name)
      assert.notInclude(JSON.stringify(headers), "hunter2")
      assert.notInclude(JSON.stringify(headers), token)
      assert.deepStrictEqual(
        [headers.authorization, headers.accept, headers["x-kept"], headers["accept-encoding"]],
        [bearer(accessToken), "text/plain", "yes", "identity"]
      )
      const query = yield* ask({ token, path: `/v1/proxy/api/x?key=${token}` })
      assert.deepStrictEqual([query.status, query.json["code"]], [400, "query_refused"])
      assert.lengthOf(api.arrived, 1)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-04 drops what belongs to a connection and what Connection names, but never the token", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({
        answer: (_, response) =>
          response.writeHead(200, {
            connection: "x-hop-of-theirs, close",
            "x-hop-of-theirs": "1",
            "keep-alive": "x",
            upgrade: "h9"
          })
            .end("fine")
      })
      const token = yield* caller()
      const accessToken = yield* connectTo(token, "api", api.origin)
      const answer = yield* ask({
        token,
        path: "/v1/proxy/api/x",
        headers: {
          connection: "Authorization, X-Hop, content-type",
          "x-hop": "1",
          te: "trailers",
          "keep-alive": "timeout=5",
          "proxy-connection": "close"
        }
      })
      const { headers } = api.arrived[0]!
      assert.strictEqual(headers.authorization, bearer(accessToken))
      for (const name of ["x-hop", "te", "keep-alive", "proxy-connection"]) assert.notProperty(headers, name)
      assert.notInclude(headers.connection ?? "", "uthorization")
      assert.notProperty(answer.headers, "x-hop-of-theirs")
      assert.notProperty(answer.headers, "upgrade")
    })).pipe(Effect.provide(layer)))

  it.live("PROX-05 follows no redirect, and tells of none that leaves the resource", () =>
    Effect.scoped(Effect.gen(function*() {
      const evil = yield* upstream({})
      let location = ""
      const api = yield* upstream({ answer: (_, response) => response.writeHead(307, { location }).end("moved") })
      const token = yield* caller()
      yield* connectTo(token, "api", `${api.origin}/v1`)
      const outside = [
        evil.origin,
        `${evil.origin}/v1/x`,
        `//${new URL(evil.origin).host}/v1`,
        `${api.origin}/v2`,
        "/",
        `${api.origin}/v10/x`,
        "javascript:alert(1)",
        "http://["
      ]
      for (location of outside) {
        const answer = yield* ask({ token, method: "POST", path: "/v1/proxy/api/x", body: "b" })
        assert.deepStrictEqual([answer.status, answer.text], [307, "moved"])
        assert.notProperty(answer.headers, "location")
      }
      for (
        const [to, told] of [
          ["/v1/y?z=1", "/v1/proxy/api/y?z=1"],
          ["y", "/v1/proxy/api/y"],
          [`${api.origin}/v1/`, "/v1/proxy/api/"],
          ["/v1/connections/api", "/v1/proxy/api/connections/api"]
        ]
      ) {
        location = to!
        assert.strictEqual((yield* ask({ token, path: "/v1/proxy/api/x" })).headers.location, told)
      }
      assert.lengthOf(evil.arrived, 0)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-08 turns a wish for more scopes into a start of consent, and refreshes nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      let challenge: string | undefined = "Bearer error=\"insufficient_scope\", scope=\"notes.write notes.read\""
      const api = yield* upstream({
        answer: (_, response) =>
          response.writeHead(403, challenge === undefined ? {} : { "www-authenticate": challenge }).end("no")
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const answer = yield* ask({ token, path: "/v1/proxy/api/x" })
      assert.deepStrictEqual([answer.status, answer.json["code"]], [403, "insufficient_scope"])
      assert.deepStrictEqual(answer.json["scopes"], ["notes.read", "notes.write"])
      assert.deepStrictEqual(answer.json["reauthorize"], {
        method: "POST",
        href: "/v1/flows",
        body: { server: "api", reauthorize: true, scopes: ["notes.read", "notes.write"] }
      })
      const started = yield* post(token, "/v1/flows", (answer.json["reauthorize"] as { readonly body: unknown }).body)
      assert.strictEqual(started.status, 201)
      for (challenge of [undefined, "Basic realm=x", "Bearer error=\"invalid_request\""]) {
        const passed = yield* ask({ token, path: "/v1/proxy/api/x" })
        assert.deepStrictEqual([passed.status, passed.text], [403, "no"])
        assert.notProperty(passed.headers, "www-authenticate")
      }
      assert.strictEqual(yield* count, 0)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-10 TOK-15 takes in no token with a line break, and repeats none in an error", () =>
    Effect.scoped(Effect.gen(function*() {
      const closed = yield* Effect.scoped(upstream({}))
      const token = yield* caller()
      const accessToken = yield* connectTo(token, "api", closed.origin)
      for (const bad of ["a\r\nx-injected: 1", "a\nb", "a\0b", "a\u00e9"]) {
        const answer = yield* put(token, "/v1/connections/api", {
          tokenEndpoint: "https://as.example/token",
          clientId: "c",
          refreshToken: Canary.makeText("refresh"),
          accessToken: bad,
          replace: true
        })
        assert.strictEqual(answer.status, 400)
        assert.notInclude(answer.text, "injected")
      }
      const answer = yield* ask({ token, path: "/v1/proxy/api/x" })
      assert.deepStrictEqual([answer.status, answer.json["code"]], [502, "resource_unreachable"])
      assert.notInclude(answer.text, accessToken)
      const folded = yield* raw(
        `GET /v1/proxy/api/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\nx-a: b\r\n x-injected: 1\0\r\n\r\n`
      )
      assert.match(folded, /^HTTP\/1\.1 400/)
    })).pipe(Effect.provide(layer)))

  it.live("PROX-12 keeps from the caller what an answer would do in the name of this server", () =>
    Effect.scoped(Effect.gen(function*() {
      const theirs = {
        "set-cookie": ["a=b", "c=d"],
        "clear-site-data": "\"*\"",
        "strict-transport-security": "max-age=1",
        "alt-svc": "h3=\":443\"",
        "access-control-allow-origin": "*",
        "service-worker-allowed": "/",
        refresh: "0; url=/",
        "proxy-authenticate": "Basic",
        "content-location": "/elsewhere"
      }
      const api = yield* upstream({
        answer: (_, response) =>
          response.writeHead(200, {
            ...theirs,
            "cache-control": "public, max-age=600",
            "content-type": "text/html",
            "last-modified": "x"
          }).end("<script>")
      })
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const { headers } = yield* ask({ token, path: "/v1/proxy/api/x" })
      for (const name of Object.keys(theirs)) assert.notProperty(headers, name)
      assert.deepInclude(headers, {
        "cache-control": "no-store",
        "content-security-policy": "sandbox",
        "content-type": "text/html",
        "last-modified": "x",
        "x-content-type-options": "nosniff"
      })
    })).pipe(Effect.provide(layer)))

  it.live("PROX-13 passes on no TRACE, no CONNECT and no other protocol", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const token = yield* caller()
      yield* connectTo(token, "api", api.origin)
      const head = `host: x\r\nauthorization: Bearer ${token}\r\n`
      for (
        const bytes of [
          `TRACE /v1/proxy/api/x HTTP/1.1\r\n${head}connection: close\r\n\r\n`,
          `PURGE /v1/proxy/api/x HTTP/1.1\r\n${head}connection: close\r\n\r\n`,
          `GET /v1/proxy/api/x HTTP/1.1\r\n${head}connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n`
        ]
      ) {
        const answer = yield* raw(bytes)
        assert.match(answer, /^HTTP\/1\.1 405/, bytes)
        assert.match(answer, /\r\nallow: GET, HEAD, POST/i)
        assert.include(answer, "method_refused")
      }
      assert.notInclude(yield* raw(`CONNECT ${new URL(api.origin).host} HTTP/1.1\r\n${head}\r\n`), "200")
      assert.lengthOf(api.arrived, 0)
      const offered = yield* ask({
        token,
        path: "/v1/proxy/api/x",
        headers: { connection: "upgrade, http2-settings", upgrade: "h2c", "http2-settings": "AAMAAABkAAQ" }
      })
      assert.strictEqual(offered.status, 200)
      assert.notProperty(api.arrived[0]!.headers, "upgrade")
    })).pipe(Effect.provide(layer)))

  it.live("PROX-15 carries no token in a query, neither its own nor the caller's", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = yield* upstream({})
      const token = yield* caller()
      const accessToken = yield* connectTo(token, "api", `${api.origin}/v1?team=7`)
      for (
        const query of [
          "access_token=x",
          "a=1&access_token=",
          "ACCESS_TOKEN=x",
          "%61ccess_token=x",
          "access%5Ftoken",
          "+access_token=x",
          "team=8"
        ]
      ) {
        const answer = yield* ask({ token, path: `/v1/proxy/api/x?${query}` })
        assert.deepStrictEqual([answer.status, answer.json["code"]], [400, "query_refused"], query)
      }
      yield* ask({ token, path: "/v1/proxy/api/x?access_tokens=1" })
      assert.deepStrictEqual(api.arrived.map(({ url }) => url), ["/v1/x?team=7&access_tokens=1"])
      assert.notInclude(api.arrived[0]!.url, accessToken)
    })).pipe(Effect.provide(layer)))
})
