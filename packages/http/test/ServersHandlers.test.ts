import { assert, describe, it } from "@effect/vitest"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"

describe("servers", () => {
  it.effect("are created, replaced, read and removed, and never show a secret", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const clientSecret = Canary.makeText("client")
      const described = {
        name: "Mail",
        resource: "https://mail.example/mcp",
        issuer: "https://as.example",
        scopes: ["mail.read"],
        client: { clientId: "c-1", authMethod: "client_secret_basic", clientSecret },
        quirks: { redemptionPolicy: "strict" }
      }
      const created = yield* ada.put("/v1/servers/mail", described)
      assert.strictEqual(created.status, 201, created.text)
      assert.deepStrictEqual(created.json, {
        created: true,
        server: { ...described, server: "mail", client: { clientId: "c-1", authMethod: "client_secret_basic" } }
      })
      const replaced = yield* ada.put("/v1/servers/mail", { resource: "https://mail.example/mcp" })
      assert.strictEqual(replaced.status, 200)
      assert.deepStrictEqual((yield* ada.get("/v1/servers/mail")).json, {
        server: "mail",
        resource: "https://mail.example/mcp",
        quirks: {}
      })
      const list = yield* ada.get("/v1/servers?limit=1")
      assert.strictEqual(list.json["next"], "mail")
      for (const _ of [1, 2]) assert.strictEqual((yield* ada.delete("/v1/servers/mail")).status, 204)
      const gone = yield* ada.get("/v1/servers/mail")
      assert.strictEqual(gone.status, 404)
      assert.strictEqual(gone.json["code"], "server_not_found")
    }).pipe(Effect.provide(layer())))

  it.effect("show the public half of a client's key and never the rest, whoever made it", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const described = { resource: "https://mail.example/mcp", issuer: "https://as.example" }
      const signer = { clientId: "c-1", authMethod: "private_key_jwt" }
      const { d, ...point } = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
      Canary.register("client_secret", d!)
      const brought = yield* ada.put("/v1/servers/mail", {
        ...described,
        client: { ...signer, clientSecret: JSON.stringify({ ...point, d, kid: "mine" }) }
      })
      assert.deepInclude(brought.json["server"], { client: { ...signer, publicKey: { ...point, kid: "mine" } } })
      assert.notInclude(brought.text, d!)
      const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" })
      Canary.register("client_secret", rsa.d!)
      for (const key of [rsa, generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" })]) {
        const client = { ...signer, clientSecret: JSON.stringify(key) }
        assert.strictEqual((yield* ada.put("/v1/servers/mail", { ...described, client })).status, 200)
      }
      const made = yield* ada.put("/v1/servers/other", { ...described, client: signer })
      assert.strictEqual(made.status, 201, made.text)
      assert.match((yield* ada.get("/v1/servers/other")).text, /"publicKey":\{"kty":"EC"/)
      const mistakes = [
        { ...described, client: { ...signer, clientSecret: JSON.stringify(point) } },
        { ...described, client: { ...signer, clientSecret: "not a key" } },
        {
          resource: described.resource,
          endpoints: { authorization: "https://as.example/authorize", token: "https://as.example/token" },
          client: signer
        }
      ]
      for (const mistake of mistakes) assert.strictEqual((yield* ada.put("/v1/servers/mail", mistake)).status, 400)
      const broken = { ...signer, clientSecret: JSON.stringify({ ...point, y: point.x, d }) }
      const refused = yield* ada.put("/v1/servers/mail", { ...described, client: broken })
      assert.strictEqual(refused.status, 400, refused.text)
      assert.deepInclude((refused.json["errors"] as ReadonlyArray<unknown>)[0], {
        path: ["payload", "client", "clientSecret"]
      })
      assert.notInclude(refused.text, d!)
    }).pipe(Effect.provide(layer())))

  it.effect("API-05 take no key of a client that says it is for something else than signing by its kind", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const keys = {
        "P-256": generateKeyPairSync("ec", { namedCurve: "P-256" }),
        "P-384": generateKeyPairSync("ec", { namedCurve: "P-384" }),
        "P-521": generateKeyPairSync("ec", { namedCurve: "P-521" }),
        RSA: generateKeyPairSync("rsa", { modulusLength: 2048 }),
        Ed25519: generateKeyPairSync("ed25519")
      }
      const described = { resource: "https://mail.example/mcp", issuer: "https://as.example" }
      for (
        const [kind, suitable, others] of [
          ["P-256", ["ES256"], ["ES384", "ECDH-ES", "HS256", "none"]],
          ["P-384", ["ES384"], ["ES256", "RS256"]],
          ["P-521", ["ES512"], ["ES521"]],
          ["RSA", ["RS256", "PS512"], ["RSA-OAEP", "RS1", "ES256"]],
          ["Ed25519", ["EdDSA", "Ed25519"], ["ES256", "Ed448"]]
        ] as const
      ) {
        const jwk = keys[kind].privateKey.export({ format: "jwk" })
        Canary.register("client_secret", jwk.d!)
        const put = (alg: string) =>
          ada.put("/v1/servers/mail", {
            ...described,
            client: { clientId: "c", authMethod: "private_key_jwt", clientSecret: JSON.stringify({ ...jwk, alg }) }
          })
        for (const alg of suitable) assert.isBelow((yield* put(alg)).status, 300, `${kind} ${alg}`)
        for (const alg of others) {
          const refused = yield* put(alg)
          assert.strictEqual(refused.status, 400, `${kind} ${alg}`)
          const [error] = refused.json["errors"] as ReadonlyArray<{ readonly path: unknown; readonly message: string }>
          assert.deepStrictEqual(error?.path, ["payload", "client", "clientSecret"])
          assert.include(error?.message, "`alg`")
          assert.notInclude(refused.text, jwk.d!)
        }
      }
    }).pipe(Effect.provide(layer())))

  it.effect("API-02 I10 belong to one tenant", () =>
    Effect.gen(function*() {
      const rival = yield* caller({ tenant: "rival" })
      assert.strictEqual((yield* rival.get("/v1/servers/notes")).status, 404)
      assert.deepStrictEqual((yield* rival.get("/v1/servers")).json["servers"], [])
      assert.strictEqual((yield* rival.post("/v1/flows", { server: "notes" })).json["code"], "server_not_found")
      yield* rival.delete("/v1/servers/notes")
      assert.strictEqual((yield* (yield* caller()).get("/v1/servers/notes")).status, 200)
    }).pipe(Effect.provide(layer())))

  it.effect("S3.42 API-05 API-08 take a strict body", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const resource = "https://mail.example/mcp"
      for (
        const body of [
          {},
          { resource: "not a url" },
          { resource: "ftp://mail.example" },
          { resource, name: "" },
          { resource, name: "a\u0000b" },
          { resource, name: "\ud800" },
          { resource, name: "n".repeat(256) },
          { resource, tenant: "rival" },
          { resource, slug: "other" },
          { resource, quirks: { trustEverything: true } },
          { resource, endpoints: { authorization: resource, token: resource, userinfo: resource } },
          { resource, client: { clientId: "c", authMethod: "none", clientSecret: "s" } },
          { resource, client: { clientId: "c", authMethod: "client_secret_post" } },
          { resource, client: { clientId: "c", authMethod: "none", isAdmin: true } }
        ]
      ) {
        const answer = yield* ada.put("/v1/servers/mail", body)
        assert.strictEqual(answer.status, 400, JSON.stringify(body))
      }
      assert.strictEqual((yield* MemoryWorld).servers.size, 1)
    }).pipe(Effect.provide(layer())))

  it.effect("S2x.14 take no client that needs a secret without one, nor an access token typed in by hand", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const resource = "https://mail.example/mcp"
      for (const authMethod of ["client_secret_basic", "client_secret_post"]) {
        for (const secret of [{}, { clientSecret: "" }, { clientSecret: null }]) {
          const refused = yield* ada.put("/v1/servers/mail", {
            resource,
            client: { clientId: "c", authMethod, ...secret }
          })
          assert.strictEqual(refused.status, 400, JSON.stringify({ authMethod, ...secret }))
        }
      }
      const { refreshToken: _, ...typed } = deposit({ accessToken: Canary.makeText("access") })
      const refused = yield* ada.put("/v1/connections/mail", typed)
      assert.deepStrictEqual([refused.status, refused.json["code"]], [400, "invalid_request"])
      assert.include(refused.text, "refreshToken")
      const { connections, servers } = yield* MemoryWorld
      assert.deepStrictEqual([connections.size, servers.size], [0, 1])
    }).pipe(Effect.provide(layer())))

  it.effect("PROX-16 refuses a resource at an address that no request may reach, before anything is stored", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      for (
        const resource of [
          "http://169.254.169.254/latest",
          "https://10.0.0.1/",
          "https://[fd00::1]/",
          "https://0x7f.1.evil.internal/",
          "http://public.example/",
          "https://metadata.internal/"
        ]
      ) {
        const answer = yield* ada.put("/v1/servers/inner", { resource })
        assert.deepStrictEqual([answer.status, answer.json["code"]], [422, "egress_refused"], resource)
      }
      assert.strictEqual((yield* ada.get("/v1/servers/inner")).status, 404)
      assert.strictEqual((yield* ada.put("/v1/servers/inner", { resource: "https://public.example/" })).status, 201)
    }).pipe(Effect.provide(layer())))
})
