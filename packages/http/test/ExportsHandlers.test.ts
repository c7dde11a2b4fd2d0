import { assert, describe, it } from "@effect/vitest"
import { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import * as AgeFile from "@valetkey/keyring/AgeFile"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import { Deferred, Effect, Fiber, Redacted } from "effect"
import { type Caller, caller, deposit, proofKey } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"
import type { Answer } from "./Http.ts"
import { issue, Script } from "./Script.ts"

const passphrase = () => Redacted.value(Canary.make("passphrase"))

interface Document {
  readonly connections: ReadonlyArray<Readonly<Record<string, unknown>>>
  readonly [member: string]: unknown
}

/** What an archive holds, for who knows its passphrase. */
const opened = (answer: Answer, secret: string) =>
  Effect.promise(async () => {
    assert.strictEqual(answer.status, 200, answer.text)
    const archive = Buffer.from(String(answer.json["archive"]), "base64")
    const bytes = await AgeFile.open(archive, { _tag: "Passphrase", passphrase: secret })
    return JSON.parse(Buffer.from(bytes).toString()) as Document
  })

const actions = Effect.map(
  MemoryWorld,
  ({ audit }) => audit.map(({ action, server, subject }) => `${action} ${server} ${subject}`)
)

const codeOf = ({ json, status }: Answer) => [status, json["code"]]

/** A recipient whose identity nobody has. */
const recipient = "age1ckrv9ydac2jntylgp6x7wmuqq7ua6rmxks2nznugzfgaweudxu6sc34m26"

const forget = (ada: Caller, server: string, generation: number) =>
  ada.post(`/v1/connections/${server}/forget`, { generation })

describe("POST /v1/export", () => {
  it.live("EXT-03 takes along the key that tokens are bound to, and a deposit brings it back", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const key = proofKey()
      const [refreshToken, accessToken] = ["refresh", "access"].map(Canary.makeText)
      const bound = deposit({ refreshToken, accessToken, tokenType: "DPoP", proofKey: key })
      yield* ada.put("/v1/connections/mail", bound)
      const secret = passphrase()
      const first = yield* opened(yield* ada.post("/v1/export", { passphrase: secret }), secret)
      const { server: _, ...archived } = first.connections[0]!
      assert.deepInclude(archived, { refreshToken, accessToken, tokenType: "DPoP", proofKey: key })
      yield* ada.put("/v1/connections/mail", { ...archived, replace: true })
      const second = yield* opened(yield* ada.post("/v1/export", { passphrase: secret }), secret)
      assert.deepStrictEqual(second.connections, first.connections)
    }).pipe(Effect.provide(layer())))

  it.live("EXT-08 leaves an ID token behind, whatever its server is described as since", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const resource = "https://idp.example"
      const idp = { resource, issuer: resource, scopes: ["openid"], tokens: "identity" }
      assert.strictEqual((yield* ada.put("/v1/servers/idp", idp)).status, 201)
      yield* ada.put("/v1/connections/idp", deposit({ accessToken: Canary.makeText("id_token") }))
      yield* ada.put("/v1/servers/idp", { resource })
      const answer = yield* ada.post("/v1/export", { passphrase: passphrase() })
      assert.deepStrictEqual([answer.status, answer.json["code"]], [409, "nothing_to_export"])
    }).pipe(Effect.provide(layer())))

  it.live(
    "LIFE-05 gives the caller's connections to who knows the passphrase, records each, and shows nobody a secret",
    () =>
      Effect.gen(function*() {
        const ada = yield* caller()
        const grace = yield* caller({ sub: "grace" })
        const [refreshToken, accessToken, clientSecret] = ["refresh", "access", "client"].map(Canary.makeText)
        yield* ada.put("/v1/servers/mail", {
          resource: "https://mail.example/mcp",
          client: { clientId: "client-2", authMethod: "client_secret_post", clientSecret }
        })
        yield* ada.put(
          "/v1/connections/mail",
          deposit({
            refreshToken,
            accessToken,
            clientSecret,
            authMethod: "client_secret_post",
            resource: "https://mail.example/mcp",
            scopes: ["a", "b"],
            expiresAt: "2999-01-01T00:00:00.000Z",
            refreshExpiresAt: "2999-02-01T00:00:00.000Z",
            grantedAt: "2026-01-01T00:00:00.000Z"
          })
        )
        yield* ada.put("/v1/connections/bare", deposit())
        yield* grace.put("/v1/connections/hers", deposit())
        const secret = passphrase()
        const answer = yield* ada.post("/v1/export", { passphrase: secret })
        assert.strictEqual(answer.headers.get("cache-control"), "no-store")
        assert.deepStrictEqual(answer.json["connections"], [
          { server: "bare", generation: 1 },
          { server: "mail", generation: 1 }
        ])
        assert.deepStrictEqual(answer.json["left"], [])
        assert.deepStrictEqual(CanaryScan.make().bytes("answer", answer.text), [])
        const archive = Buffer.from(String(answer.json["archive"]), "base64")
        assert.deepStrictEqual(CanaryScan.make().bytes("archive", archive), [])

        const document = yield* opened(answer, secret)
        assert.deepInclude(document, { format: "valetkey.archive", version: 1 })
        assert.deepStrictEqual(document.connections.map(({ server }) => server), ["bare", "mail"])
        assert.deepStrictEqual(document.connections[1], {
          server: "mail",
          definition: {
            resource: "https://mail.example/mcp",
            quirks: {},
            client: { clientId: "client-2", authMethod: "client_secret_post" }
          },
          issuer: "https://as.example",
          tokenEndpoint: "https://as.example/token",
          clientId: "client-2",
          authMethod: "client_secret_post",
          resource: "https://mail.example/mcp",
          redemptionPolicy: "retry-once",
          clientSecret,
          refreshToken,
          accessToken,
          tokenType: "Bearer",
          scopes: ["a", "b"],
          expiresAt: "2999-01-01T00:00:00.000Z",
          refreshExpiresAt: "2999-02-01T00:00:00.000Z",
          grantedAt: "2026-01-01T00:00:00.000Z"
        })
        assert.notProperty(document.connections[0], "accessToken")
        assert.deepStrictEqual((yield* actions).filter((line) => line.startsWith("connection.exported")), [
          "connection.exported bare ada",
          "connection.exported mail ada"
        ])
        const { audit } = yield* MemoryWorld
        assert.match(String(audit.at(-1)?.fingerprint), /^1:[0-9a-f]{16}$/)
        assert.strictEqual((yield* ada.post("/v1/connections/mail/token", {})).json["accessToken"], accessToken)
      }).pipe(Effect.provide(layer())),
    60_000
  )

  it.effect("leaves out what is of no use elsewhere, and says why", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const world = yield* MemoryWorld
      script.refresh = () => Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" } }))
      yield* ada.put("/v1/connections/refused", deposit({ verify: true }))
      script.exchange = (n) => Effect.map(issue(n), ({ refreshToken: _, ...rest }) => rest)
      yield* connect(ada)
      yield* ada.put("/v1/connections/gone", deposit())
      yield* ada.delete("/v1/connections/gone")
      yield* ada.put("/v1/connections/altered", deposit())
      const nothing = yield* ada.post("/v1/export", { recipient, servers: ["notes", "refused"] })
      assert.deepStrictEqual(codeOf(nothing), [409, "nothing_to_export"])
      yield* ada.put("/v1/connections/whole", deposit())
      const row = [...world.connections.values()].find(({ connection }) => connection.key.server === "altered")!
      row.connection.credentials.refreshToken!.fill(7, 20)
      const answer = yield* ada.post("/v1/export", { recipient })
      assert.deepStrictEqual(answer.json["connections"], [{ server: "whole", generation: 1 }])
      assert.deepStrictEqual(answer.json["left"], [
        { server: "altered", reason: "integrity_error" },
        { server: "notes", reason: "no_refresh_token" },
        { server: "refused", reason: "needs_reauth" }
      ])
      const exported = (yield* actions).filter((line) => line.startsWith("connection.exported"))
      assert.deepStrictEqual(exported, ["connection.exported whole ada"])
    }).pipe(Effect.provide(layer())))

  it.effect("takes the connections that are named, each once, and knows none that are not the caller's", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const grace = yield* caller({ sub: "grace" })
      for (const name of ["a", "b", "c"]) yield* ada.put(`/v1/connections/${name}`, deposit())
      yield* grace.put("/v1/connections/hers", deposit())
      const some = yield* ada.post("/v1/export", { recipient, servers: ["c", "a", "c"] })
      assert.deepStrictEqual(
        (some.json["connections"] as Document["connections"]).map(({ server }) => server),
        ["c", "a"]
      )
      for (const server of ["hers", "never"]) {
        const absent = yield* ada.post("/v1/export", { recipient, servers: ["a", server] })
        assert.deepStrictEqual(codeOf(absent), [404, "connection_not_found"])
      }
      const none = yield* (yield* caller({ sub: "eve" })).post("/v1/export", { recipient })
      assert.deepStrictEqual(codeOf(none), [409, "nothing_to_export"])
    }).pipe(Effect.provide(layer())))

  it.effect("S3.42 takes one recipient or one passphrase, of bounded length, and nothing else", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* ada.put("/v1/connections/a", deposit())
      const secret = passphrase()
      const bodies: ReadonlyArray<unknown> = [
        {},
        { recipient, passphrase: secret },
        { recipient: "ssh-ed25519 AAAA" },
        { recipient: `age1${"q".repeat(5000)}` },
        { passphrase: "too short" },
        { passphrase: "x".repeat(1025) },
        { passphrase: 1234567890123 },
        { recipient, servers: [] },
        { recipient, servers: ["No"] },
        { recipient, subject: "grace" }
      ]
      for (const body of bodies) {
        const answer = yield* ada.post("/v1/export", body)
        assert.deepStrictEqual(codeOf(answer), [400, "invalid_request"], JSON.stringify(body).slice(0, 40))
        assert.notInclude(answer.text, secret)
      }
      const checksum = yield* ada.post("/v1/export", { recipient: `${recipient.slice(0, -1)}q` })
      assert.deepStrictEqual(codeOf(checksum), [422, "recipient_invalid"])
      assert.deepStrictEqual((yield* actions).filter((line) => line.startsWith("connection.exported")), [])
    }).pipe(Effect.provide(layer())))

  it.effect("S2.44 needs a scope of its own, which a key has when it is given one", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      yield* ada.put("/v1/connections/a", deposit())
      const admin = yield* caller({ scope: "connections:read connections:write tokens:read admin operator" })
      const refused = yield* admin.post("/v1/export", { recipient })
      assert.deepStrictEqual(codeOf(refused), [403, "forbidden"])
      assert.deepStrictEqual(refused.json["requiredScopes"], ["connections:export"])
      const key = yield* admin.post("/v1/api-keys", { name: "x", scopes: ["connections:export"] })
      assert.deepStrictEqual(codeOf(key), [403, "forbidden"])
    }).pipe(Effect.provide(layer())))

  it.effect("refuses more than one archive may hold, and opens no further", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      // Each just fits into a request; forty of them do not fit into an archive.
      for (let n = 0; n < 40; n++) {
        yield* ada.put(
          `/v1/connections/c${n}`,
          deposit({ refreshToken: `${Canary.makeText("refresh")}${"r".repeat(110_000)}` })
        )
      }
      const answer = yield* ada.post("/v1/export", { recipient })
      assert.deepStrictEqual(codeOf(answer), [413, "archive_too_large"])
      assert.strictEqual((yield* ada.post("/v1/export", { recipient, servers: ["c1", "c2"] })).status, 200)
    }).pipe(Effect.provide(layer())))
})

describe("POST /v1/connections/{server}/forget", () => {
  it.effect("deletes what was exported, tells no provider, and is recorded", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const grace = yield* caller({ sub: "grace" })
      const world = yield* MemoryWorld
      yield* ada.put("/v1/connections/notes", deposit({ accessToken: Canary.makeText("access") }))
      assert.deepStrictEqual(codeOf(yield* grace.post("/v1/connections/notes/forget", { generation: 1 })), [
        404,
        "connection_not_found"
      ])
      assert.deepStrictEqual(codeOf(yield* forget(ada, "notes", 2)), [412, "generation_mismatch"])
      assert.strictEqual((yield* ada.post("/v1/connections/notes/token", {})).status, 200)
      const gone = yield* forget(ada, "notes", 1)
      assert.deepStrictEqual([gone.status, gone.text], [204, ""])
      assert.strictEqual((yield* ada.post("/v1/connections/notes/token", {})).status, 404)
      assert.deepStrictEqual(codeOf(yield* forget(ada, "notes", 1)), [404, "connection_not_found"])
      assert.deepStrictEqual([world.connections.size, world.outbox.size], [0, 0])
      assert.notInclude((yield* Script).calls, "server.revoke")
      assert.include(yield* actions, "connection.forgotten notes ada")
    }).pipe(Effect.provide(layer())))

  it.effect("I3 is refused while a refresh is under way, whose result would have no place", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      yield* ada.put("/v1/connections/notes", deposit())
      const [asked, answer] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      script.refresh = (n) =>
        Deferred.succeed(asked, undefined).pipe(Effect.andThen(Deferred.await(answer)), Effect.andThen(issue(n)))
      const token = yield* Effect.forkChild(ada.post("/v1/connections/notes/token", {}))
      yield* Deferred.await(asked)
      assert.deepStrictEqual(codeOf(yield* forget(ada, "notes", 1)), [503, "refresh_in_progress"])
      yield* Deferred.succeed(answer, undefined)
      assert.strictEqual((yield* Fiber.join(token)).status, 200)
      assert.deepStrictEqual(codeOf(yield* forget(ada, "notes", 1)), [412, "generation_mismatch"])
      assert.strictEqual((yield* forget(ada, "notes", 2)).status, 204)
    }).pipe(Effect.provide(layer())))
})
