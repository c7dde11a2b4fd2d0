import { assert, describe, it } from "@effect/vitest"
import { DiscoveryError, RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { caller, deposit } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { Script, writes } from "./Script.ts"

describe("PUT /v1/connections/{server}", () => {
  it.effect("S3.5 S3.28 stores one row for the caller of the credential; 201 when new, 200 when replaced", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const first = yield* ada.put("/v1/connections/notes", deposit())
      assert.strictEqual(first.status, 201, first.text)
      assert.strictEqual(first.json["created"], true)
      const second = yield* ada.put("/v1/connections/notes", deposit({ clientId: "client-3", replace: true }))
      assert.strictEqual(second.status, 200)
      assert.deepInclude(second.json["connection"], { clientId: "client-3", generation: 2, status: "active" })
      const world = yield* MemoryWorld
      assert.deepStrictEqual([...world.connections.values()].map(({ connection: { key } }) => ({ ...key })), [
        { tenant: "acme", subject: "ada", server: "notes" }
      ] as never)
      const grace = yield* caller({ sub: "grace" })
      assert.strictEqual((yield* grace.get("/v1/connections/notes")).status, 404)
      assert.deepStrictEqual((yield* grace.get("/v1/connections")).json["connections"], [])
    }).pipe(Effect.provide(layer())))

  it.effect("API-23 overwrites a connection only when asked to, or when it is at the generation that If-Match names", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const path = "/v1/connections/notes"
      const put = (ifMatch: string | undefined, over = {}) =>
        send("PUT", path, {
          token: ada.token,
          body: deposit(over),
          headers: ifMatch === undefined ? {} : { "if-match": ifMatch }
        })
      const outcome = (answer: Effect.Success<ReturnType<typeof put>>) => [answer.status, answer.json["code"]]
      assert.deepStrictEqual(outcome(yield* put("\"1\"")), [412, "generation_mismatch"])
      assert.strictEqual((yield* put(undefined)).status, 201)
      assert.deepStrictEqual(outcome(yield* put(undefined)), [409, "connection_exists"])
      assert.deepStrictEqual(outcome(yield* put(undefined, { replace: false })), [409, "connection_exists"])
      assert.strictEqual((yield* put("\"1\"")).status, 200)
      assert.deepStrictEqual(outcome(yield* put("\"1\"")), [412, "generation_mismatch"])
      assert.deepStrictEqual(outcome(yield* put("\"1\"", { replace: true })), [412, "generation_mismatch"])
      for (const odd of ["2", "*", "W/\"2\"", "\"\"", "\"2\", \"3\""]) {
        assert.strictEqual((yield* put(odd)).status, 400, odd)
      }
      assert.strictEqual((yield* ada.get(path)).json["generation"], 2)
      const together = yield* Effect.all([put("\"2\""), put("\"2\"")], { concurrency: "unbounded" })
      assert.deepStrictEqual(together.map(({ status }) => status).toSorted(), [200, 412])
      yield* ada.delete(path)
      assert.deepStrictEqual(outcome(yield* put("\"3\"")), [412, "generation_mismatch"])
      assert.strictEqual((yield* put(undefined)).status, 200)
    }).pipe(Effect.provide(layer())))

  it.effect("S3.31 asks the issuer for the token endpoint when the deposit names none, and stores nothing when it is not found", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const body = deposit({ tokenEndpoint: undefined, issuer: "https://as.example" })
      script.discovery = new DiscoveryError({ code: "issuer_mismatch" })
      const lost = yield* ada.put("/v1/connections/notes", body)
      assert.deepStrictEqual([lost.status, lost.json["code"]], [502, "issuer_mismatch"])
      assert.deepStrictEqual(writes(script.calls), [])
      script.discovery = undefined
      const found = yield* ada.put("/v1/connections/notes", body)
      assert.strictEqual(found.status, 201, found.text)
      const { grant } = [...(yield* MemoryWorld).connections.values()][0]!.connection
      assert.deepInclude(grant, {
        issuer: "https://as.example",
        tokenEndpoint: "https://as.example/token",
        revocationEndpoint: "https://as.example/revoke"
      })
      const asked = script.calls.filter((call) => call === "server.discover").length
      yield* ada.put("/v1/connections/mail", deposit())
      assert.strictEqual(script.calls.filter((call) => call === "server.discover").length, asked)
    }).pipe(Effect.provide(layer())))

  it.live("shows no end of a token before the connection was there, when none was obtained for it yet", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      script.obtain = Effect.fail(
        new RedemptionError({ reason: { _tag: "Configuration", error: "invalid_client" } })
      )
      const described = yield* ada.put("/v1/servers/robot", {
        resource: "https://mcp.example/mcp",
        grant: { type: "client_credentials" },
        client: { clientId: "robot", authMethod: "client_secret_basic", clientSecret: Canary.makeText("client_secret") }
      })
      assert.strictEqual(described.status, 201)
      assert.strictEqual((yield* ada.post("/v1/flows", { server: "robot" })).json["code"], "client_misconfigured")
      const { createdAt, expiresAt, status } = (yield* ada.get("/v1/connections/robot")).json
      assert.deepStrictEqual([status, expiresAt], ["active", createdAt])
    }).pipe(Effect.provide(layer())))

  it.effect("proves credentials by one redemption before it answers, when asked to", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const refreshes = () => script.calls.filter((call) => call === "server.refresh").length
      const accessToken = Canary.makeText("access")
      const proved = yield* ada.put("/v1/connections/notes", deposit({ accessToken, verify: true }))
      assert.strictEqual(proved.status, 201, proved.text)
      assert.strictEqual(refreshes(), 1)
      assert.deepInclude(proved.json["connection"], { generation: 2, status: "active" })
      const token = yield* ada.post("/v1/connections/notes/token", {})
      assert.notStrictEqual(token.json["accessToken"], accessToken)
      assert.strictEqual(refreshes(), 1)
      const refuse = (reason: RedemptionError["reason"]) => Effect.fail(new RedemptionError({ reason }))
      script.refresh = () => refuse({ _tag: "Terminal", error: "invalid_grant" })
      const refused = yield* ada.put("/v1/connections/notes", deposit({ verify: true, replace: true }))
      assert.deepStrictEqual([refused.status, refused.json["code"]], [422, "deposit_refused"])
      assert.strictEqual((yield* ada.get("/v1/connections/notes")).json["status"], "needs_reauth")
      script.refresh = () => refuse({ _tag: "Configuration", error: "invalid_client" })
      const misfit = yield* ada.put("/v1/connections/notes", deposit({ verify: true, replace: true }))
      assert.deepStrictEqual([misfit.status, misfit.json["code"]], [409, "client_misconfigured"])
      assert.strictEqual(refreshes(), 3)
    }).pipe(Effect.provide(layer())))

  it.effect("gives a token at once, or refreshes when no access token was deposited", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const accessToken = Canary.makeText("access")
      yield* ada.put("/v1/connections/notes", deposit({ accessToken, expiresAt: "1970-01-02T00:00:00Z" }))
      const direct = yield* ada.post("/v1/connections/notes/token", {})
      assert.strictEqual(direct.json["accessToken"], accessToken)
      yield* ada.put("/v1/connections/notes", deposit({ replace: true }))
      const refreshed = yield* ada.post("/v1/connections/notes/token", {})
      assert.strictEqual(refreshed.status, 200, refreshed.text)
      assert.include((yield* Script).calls, "server.refresh")
      assert.notStrictEqual(refreshed.json["accessToken"], "")
    }).pipe(Effect.provide(layer())))

  it.effect("I6 refreshes what was deposited without an access token also where the clock is behind", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* TestClock.setTime(3_600_000)
      yield* ada.put("/v1/connections/notes", deposit())
      yield* TestClock.setTime(3_300_000)
      const { json, status, text } = yield* ada.post("/v1/connections/notes/token", {})
      assert.strictEqual(status, 200, text)
      assert.notStrictEqual(json["accessToken"], "")
    }).pipe(Effect.provide(layer())))

  it.effect("S3.25 S3.26 seals every secret before it reaches the store", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const world = yield* MemoryWorld
      const secrets = [Canary.makeText("refresh"), Canary.makeText("access"), Canary.makeText("client")] as const
      const [refreshToken, accessToken, clientSecret] = secrets
      const row = () => [...world.connections.values()][0]!.connection
      yield* ada.put("/v1/connections/notes", deposit({ refreshToken, accessToken }))
      assert.isUndefined(row().clientSecret)
      yield* ada.put("/v1/connections/notes", deposit({ refreshToken, accessToken, clientSecret, replace: true }))
      assert.instanceOf(row().clientSecret, Uint8Array)
      const bytes = [row().clientSecret!, row().credentials.accessToken, row().credentials.refreshToken!]
        .map((sealed) => Buffer.from(sealed).toString("latin1")).join() + inspect(row(), { depth: 9 })
      for (const secret of secrets) assert.notInclude(bytes, secret)
    }).pipe(Effect.provide(layer())))

  it.effect("S3.37 API-17 answers 503 without a key and stores nothing, while what needs no secret works", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const world = yield* MemoryWorld
      const answers = [
        yield* ada.put("/v1/connections/notes", deposit()),
        yield* ada.post("/v1/flows", { server: "notes" }),
        yield* ada.put("/v1/servers/mail", {
          resource: "https://mail.example/mcp",
          client: { clientId: "c", authMethod: "client_secret_basic", clientSecret: Canary.makeText("client") }
        })
      ]
      for (const answer of answers) {
        assert.strictEqual(answer.status, 503)
        assert.strictEqual(answer.json["code"], "encryption_key_missing")
      }
      assert.strictEqual(world.connections.size, 0)
      assert.strictEqual(world.servers.size, 1)
      assert.strictEqual((yield* send("GET", "/livez")).status, 200)
      assert.strictEqual((yield* ada.get("/v1/connections")).status, 200)
      assert.strictEqual((yield* ada.get("/v1/servers")).status, 200)
      assert.strictEqual((yield* ada.delete("/v1/connections/notes")).status, 204)
    }).pipe(Effect.provide(layer({ keys: null }))))
})

describe("DELETE /v1/connections/{server}", () => {
  it.effect("S3.38 answers 204 with an empty body, once and again, and refuses tokens at once", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* connect(ada)
      for (const _ of [1, 2]) {
        const answer = yield* ada.delete("/v1/connections/notes")
        assert.strictEqual(answer.status, 204)
        assert.strictEqual(answer.text, "")
      }
      assert.strictEqual((yield* ada.post("/v1/connections/notes/token", {})).status, 404)
    }).pipe(Effect.provide(layer())))

  it.effect("S3.7 S3.41 leaves another caller's connection alone", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const grace = yield* caller({ sub: "grace" })
      yield* ada.put("/v1/connections/notes", deposit())
      assert.strictEqual((yield* grace.delete("/v1/connections/notes")).status, 204)
      assert.strictEqual((yield* ada.get("/v1/connections/notes")).json["status"], "active")
    }).pipe(Effect.provide(layer())))
})

describe("GET /v1/connections", () => {
  it.effect("API-14 I10 shows the caller's own, page by page, and no secret", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const secret = Canary.makeText("client")
      for (const name of ["c", "a", "b"]) {
        yield* ada.put(`/v1/connections/${name}`, deposit({ clientSecret: secret }))
      }
      const first = yield* ada.get("/v1/connections?limit=2")
      const names = (answer: typeof first) =>
        (answer.json["connections"] as ReadonlyArray<{ readonly server: string }>).map(({ server }) => server)
      assert.deepStrictEqual(names(first), ["a", "b"])
      assert.strictEqual(first.json["next"], "b")
      const second = yield* ada.get(`/v1/connections?limit=2&after=${String(first.json["next"])}`)
      assert.deepStrictEqual(names(second), ["c"])
      assert.notProperty(second.json, "next")
      for (
        const query of ["limit=0", "limit=101", "limit=2.5", "limit=", "after=%00", "sort=name", "after=a&after=b"]
      ) {
        assert.strictEqual((yield* ada.get(`/v1/connections?${query}`)).status, 400, query)
      }
      for (const path of ["/v1/connections", "/v1/connections/a", "/v1/servers", "/v1/openapi.json"]) {
        const { text } = yield* ada.get(path)
        assert.notInclude(text, secret)
        assert.notMatch(text, /"(refreshToken|clientSecret)":"/)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("API-22 finds nothing of others through somebody else's cursor", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const rival = yield* caller({ tenant: "rival" })
      for (const name of ["a", "b"]) yield* ada.put(`/v1/connections/${name}`, deposit())
      const { next } = (yield* ada.get("/v1/connections?limit=1")).json
      assert.deepStrictEqual((yield* rival.get(`/v1/connections?after=${String(next)}`)).json["connections"], [])
    }).pipe(Effect.provide(layer())))
})
