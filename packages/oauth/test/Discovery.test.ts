import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { IssuerMetadata, ProtectedResource } from "@valetkey/oauth"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect } from "effect"
import { layer, layerWith, server } from "./internal/world.ts"

type ServerChanges = Parameters<typeof server>[1]

const discover = (provider: FakeProvider.FakeProvider, changes?: ServerChanges) =>
  AuthorizationServer.use((oauth) => oauth.discover(server(provider.resource, changes)))

/** The code of the error that discovery ends with. */
const refusal = (provider: FakeProvider.FakeProvider, changes?: ServerChanges) =>
  Effect.map(Effect.flip(discover(provider, changes)), ({ code }) => code)

const paths = (provider: FakeProvider.FakeProvider): ReadonlyArray<string> =>
  provider.log.map(({ url }) => url.pathname)

const notFound = Reply.json(404, { error: "not_found" })
const challenge = (header: string): Reply.Reply => Reply.raw({ status: 401, headers: { "www-authenticate": header } })

describe("Discovery", () => {
  it.live("finds the authorization server by the challenge of a 401", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      assert.deepStrictEqual(yield* discover(provider), {
        issuer: provider.issuer,
        authorizationEndpoint: `${provider.issuer}/authorize`,
        deviceAuthorizationEndpoint: `${provider.issuer}/device`,
        pushedAuthorizationEndpoint: `${provider.issuer}/par`,
        readsClientMetadata: true,
        tokenEndpoint: `${provider.issuer}/token`,
        revocationEndpoint: `${provider.issuer}/revoke`,
        registrationEndpoint: `${provider.issuer}/register`,
        issRequired: true,
        authMethods: ["none", "client_secret_basic", "client_secret_post"],
        scopes: ["mcp:read", "offline_access"],
        resource: provider.resource
      })
      assert.deepStrictEqual(paths(provider), [
        "/api",
        "/.well-known/oauth-protected-resource/api",
        "/.well-known/oauth-authorization-server"
      ])
      assert.isUndefined(provider.requests("resource")[0]?.headers["authorization"])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-08 asks for resource metadata at the path, then at the root", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.always("resource", Reply.raw({ status: 200 }))
      provider.script("resourceMetadata", [notFound])
      yield* discover(provider)
      assert.deepStrictEqual(paths(provider).slice(0, 3), [
        "/api",
        "/.well-known/oauth-protected-resource/api",
        "/.well-known/oauth-protected-resource"
      ])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-08 asks as an MCP client begins where nothing can be read, and goes where the challenge leads", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      for (const status of [404, 405, 406]) {
        const place = `${provider.origin}/.well-known/oauth-protected-resource/elsewhere-${status}`
        provider.script("resource", [
          Reply.raw({ status }),
          challenge(`Bearer resource_metadata="${place}", scope="mcp:write"`)
        ])
        const before = provider.log.length
        assert.deepStrictEqual((yield* discover(provider)).scopes, ["mcp:write", "offline_access"])
        const asked = provider.log.slice(before)
        assert.deepStrictEqual(asked.slice(0, 3).map(({ method, url }) => [method, url.pathname]), [
          ["GET", "/api"],
          ["POST", "/api"],
          ["GET", `/.well-known/oauth-protected-resource/elsewhere-${status}`]
        ])
        assert.isUndefined(asked[1]!.headers["authorization"])
      }
      provider.script("resource", [Reply.raw({ status: 200 })])
      yield* discover(provider)
      assert.lengthOf(provider.requests("resource"), 7)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("takes the customary endpoints of a resource that wants a token and says nothing of where to get one", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.always("resourceMetadata", notFound)
      provider.always("serverMetadata", notFound)
      provider.always("resource", challenge("Bearer"))
      const metadata = yield* discover(provider)
      assert.deepInclude(metadata, {
        issuer: provider.origin,
        authorizationEndpoint: `${provider.origin}/authorize`,
        tokenEndpoint: `${provider.origin}/token`,
        registrationEndpoint: `${provider.origin}/register`
      })
      provider.always("resource", Reply.raw({ status: 200 }))
      assert.strictEqual(yield* refusal(provider), "metadata_invalid")
      provider.always("resource", challenge("Bearer"))
      assert.strictEqual(yield* refusal(provider, { issuer: provider.issuer }), "metadata_invalid")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-08 asks an issuer with a path in the order of the specification", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make({ issuerPath: "/tenant" })
      provider.script("serverMetadata", [notFound, Reply.html(200)])
      assert.strictEqual((yield* discover(provider)).issuer, provider.issuer)
      assert.deepStrictEqual(provider.requests("serverMetadata").map(({ url }) => url.pathname), [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration"
      ])
      assert.lengthOf(IssuerMetadata.candidates("https://as.example/"), 2)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-08 takes a server that is down for an outage, never for a missing document", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.script("serverMetadata", [Reply.raw({ status: 503 })])
      assert.strictEqual(yield* refusal(provider), "authorization_server_unreachable")
      assert.lengthOf(provider.requests("serverMetadata"), 1)
      provider.script("resourceMetadata", [Reply.raw({ status: 502 })])
      assert.strictEqual(yield* refusal(provider), "resource_unreachable")
      provider.script("resource", [Reply.reset])
      assert.strictEqual(yield* refusal(provider), "resource_unreachable")
      provider.script("serverMetadata", [Reply.reset])
      assert.strictEqual(yield* refusal(provider), "authorization_server_unreachable")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("falls back to the origin of a resource without metadata, in either spelling", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.always("resource", challenge("Bearer"))
      provider.always("resourceMetadata", notFound)
      const metadata = yield* discover(provider)
      assert.strictEqual(metadata.issuer, provider.origin)
      assert.strictEqual(metadata.resource, provider.resource)
      assert.isUndefined(metadata.scopes)
      provider.always("serverMetadata", Reply.patch({ issuer: `${provider.origin}/` }))
      assert.strictEqual((yield* discover(provider)).issuer, `${provider.origin}/`)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-06 refuses metadata that calls itself by another name, a trailing slash included", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      for (const issuer of ["https://as.example", `${provider.issuer}/`, `${provider.issuer}/x`]) {
        provider.always("serverMetadata", Reply.patch({ issuer }))
        assert.strictEqual(yield* refusal(provider), "issuer_mismatch", issuer)
      }
      provider.always("serverMetadata", Reply.patch({ issuer: undefined }))
      assert.strictEqual(yield* refusal(provider), "issuer_mismatch")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-09 DISC-11 accepts only the configured issuer, wherever the resource lists it", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const other = yield* FakeProvider.make()
      for (const authorization_servers of [[other.issuer, provider.issuer], [provider.issuer, other.issuer]]) {
        provider.always("resourceMetadata", Reply.patch({ authorization_servers }))
        const pinned = yield* discover(provider, { issuer: provider.issuer })
        assert.strictEqual(pinned.issuer, provider.issuer)
        assert.strictEqual((yield* discover(provider)).issuer, authorization_servers[0])
      }
      provider.always("resourceMetadata", Reply.patch({ authorization_servers: [other.issuer] }))
      assert.strictEqual(yield* refusal(provider, { issuer: provider.issuer }), "issuer_mismatch")
      provider.always("resourceMetadata", Reply.patch({ authorization_servers: undefined }))
      assert.strictEqual((yield* discover(provider, { issuer: other.issuer })).issuer, other.issuer)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-07 refuses resource metadata that speaks for another resource", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      for (const resource of ["https://evil.example/api", `${provider.origin}/ap`, `${provider.resource}-evil`, 7]) {
        provider.always("resourceMetadata", Reply.patch({ resource }))
        assert.strictEqual(yield* refusal(provider), "metadata_invalid", String(resource))
      }
      assert.isEmpty(provider.requests("serverMetadata"))
      provider.always("resourceMetadata", Reply.patch({ resource: provider.origin }))
      assert.strictEqual((yield* discover(provider)).resource, provider.origin)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("DISC-07 compares resources by origin and whole path segments", () =>
    Effect.sync(() => {
      const table: ReadonlyArray<readonly [string, string, boolean]> = [
        ["https://mcp.example.com/mcp", "https://mcp.example.com/mcp", true],
        ["https://mcp.example.com/mcp/", "https://mcp.example.com/mcp", true],
        ["https://mcp.example.com", "https://mcp.example.com/mcp", true],
        ["https://mcp.example.com/mcp", "https://mcp.example.com/mcp-evil", false],
        ["https://mcp.example.com/mcp", "https://mcp.example.com/", false],
        ["https://mcp.example.com.evil/mcp", "https://mcp.example.com/mcp", false],
        ["http://mcp.example.com/mcp", "https://mcp.example.com/mcp", false],
        ["https://mcp.example.com:8443/mcp", "https://mcp.example.com/mcp", false],
        ["https://mcp.example.com/mcp?t=1", "https://mcp.example.com/mcp?t=2", false]
      ]
      for (const [described, requested, covers] of table) {
        assert.strictEqual(ProtectedResource.covers(described, requested), covers, `${described} ${requested}`)
      }
    }))

  it.live("FLOW-28 FLOW-29 refuses a server without S256; the quirk fills in for silence alone", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const assumed = { quirks: { assumePkceSupport: true } }
      provider.always("serverMetadata", Reply.patch({ code_challenge_methods_supported: undefined }))
      assert.strictEqual(yield* refusal(provider), "pkce_unsupported")
      assert.strictEqual((yield* discover(provider, assumed)).issuer, provider.issuer)
      for (const methods of [["plain"], []]) {
        provider.always("serverMetadata", Reply.patch({ code_challenge_methods_supported: methods }))
        assert.strictEqual(yield* refusal(provider), "pkce_unsupported")
        assert.strictEqual(yield* refusal(provider, assumed), "pkce_unsupported")
      }
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-13 DISC-15 recommends the scopes of the challenge, else those of the metadata, else none", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const named = `Bearer resource_metadata="${provider.origin}/.well-known/oauth-protected-resource/api"`
      const scopes = Effect.map(discover(provider), (metadata) => metadata.scopes)
      provider.script("resource", [challenge(`${named}, scope="files:read  files:write"`)])
      assert.deepStrictEqual(yield* scopes, ["files:read", "files:write", "offline_access"])
      provider.script("serverMetadata", [Reply.patch({ scopes_supported: ["mcp:read"] })])
      assert.deepStrictEqual(yield* scopes, ["mcp:read"])
      provider.always("resourceMetadata", Reply.patch({ scopes_supported: [] }))
      assert.isUndefined(yield* scopes)
      provider.always("resourceMetadata", Reply.patch({ scopes_supported: null }))
      assert.isUndefined(yield* scopes)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-12 reads challenges with quoting, several schemes and none of the malformed ones", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const at = `${provider.origin}/elsewhere/metadata`
      const asked = (header: string) =>
        Effect.gen(function*() {
          provider.script("resource", [challenge(header)])
          const before = provider.requests("elsewhere").length
          yield* Effect.result(discover(provider))
          return provider.requests("elsewhere").length - before
        })
      assert.strictEqual(yield* asked(`Bearer resource_metadata="${at}"`), 1)
      assert.strictEqual(yield* asked(`bearer realm="a\\"b, c", RESOURCE_METADATA="${at}", error="invalid_token"`), 1)
      assert.strictEqual(yield* asked(`Negotiate abc==, Basic realm="x", Bearer resource_metadata="${at}"`), 1)
      assert.strictEqual(yield* asked(`Basic resource_metadata="${at}"`), 0)
      assert.strictEqual(yield* asked(`Bearer resource_metadata="file:///etc/passwd"`), 0)
      assert.strictEqual(yield* asked(`Bearer realm="unclosed, resource_metadata="${at}`), 0)
      assert.strictEqual(yield* asked(`Bearer ${"a=b, ".repeat(2000)} resource_metadata="${at}"`), 0)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("FLOW-33 DISC-20 refuses endpoints that are not plain http URLs, and http ones from afar", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const bad = [
        "javascript:alert(1)",
        "ftp://as.example/authorize",
        "https://user:pw@as.example/authorize",
        "https://as.example/authorize#x",
        "/authorize",
        7
      ]
      for (const authorization_endpoint of bad) {
        provider.always("serverMetadata", Reply.patch({ authorization_endpoint }))
        assert.strictEqual(yield* refusal(provider), "metadata_invalid", String(authorization_endpoint))
      }
      for (const missing of ["authorization_endpoint", "token_endpoint"]) {
        provider.always("serverMetadata", Reply.patch({ [missing]: undefined }))
        assert.strictEqual(yield* refusal(provider), "metadata_invalid", missing)
      }
      const statically = (resource: string, token: string) =>
        AuthorizationServer.use((oauth) =>
          oauth.discover(server(resource, { endpoints: { authorization: "https://as.example/authorize", token } }))
        ).pipe(Effect.match({ onSuccess: () => "accepted", onFailure: ({ code }) => code }))
      assert.strictEqual(yield* statically("https://api.example/", "http://as.example/token"), "egress_refused")
      assert.strictEqual(yield* statically("https://api.example/", "https://127.0.0.1/token"), "egress_refused")
      assert.strictEqual(yield* statically("https://api.example/", "https://localhost./token"), "egress_refused")
      assert.strictEqual(yield* statically("http://127.0.0.1:1/", "http://127.0.0.1:2/token"), "accepted")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("DISC-18 DISC-20 refuses hostile documents and addresses without asking them anything", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.script("serverMetadata", [Reply.body(`{"issuer":"${provider.issuer}","__proto__":{}}`)])
      assert.strictEqual(yield* refusal(provider), "metadata_invalid")
      provider.script("serverMetadata", [Reply.endless])
      assert.strictEqual(yield* refusal(provider), "metadata_invalid")
      provider.always("resourceMetadata", Reply.patch({ authorization_servers: ["https://169.254.169.254"] }))
      assert.strictEqual(yield* refusal(provider), "egress_refused")
      provider.script("resource", [challenge(`Bearer resource_metadata="http://10.0.0.1/x"`)])
      assert.strictEqual(yield* refusal(provider), "egress_refused")
      const refused = yield* AuthorizationServer.use((oauth) => oauth.discover(server("https://10.0.0.1/mcp"))).pipe(
        Effect.flip
      )
      assert.strictEqual(refused.code, "egress_refused")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("SSRF-06 follows two redirects to a document, each judged anew, and no third", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const here = Reply.redirect("/.well-known/oauth-authorization-server")
      provider.script("serverMetadata", [here, here])
      assert.strictEqual((yield* discover(provider)).issuer, provider.issuer)
      provider.script("serverMetadata", [here, here, here])
      assert.strictEqual(yield* refusal(provider), "metadata_invalid")
      provider.script("serverMetadata", [Reply.redirect(provider.origin.replace("http:", "https:"))])
      assert.strictEqual(yield* refusal(provider), "metadata_invalid")
      provider.script("serverMetadata", [Reply.redirect("http://169.254.169.254/latest/meta-data")])
      assert.strictEqual(yield* refusal(provider), "egress_refused")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("uses configured endpoints without asking anyone", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const endpoints = { authorization: `${provider.origin}/authorize`, token: `${provider.origin}/token` }
      assert.deepStrictEqual(yield* discover(provider, { endpoints, issuer: "https://as.example" }), {
        issuer: "https://as.example",
        authorizationEndpoint: endpoints.authorization,
        tokenEndpoint: endpoints.token,
        issRequired: false,
        authMethods: ["client_secret_basic"],
        resource: provider.resource
      })
      assert.strictEqual((yield* discover(provider, { endpoints })).issuer, provider.origin)
      assert.isEmpty(provider.log)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("gives up on a resource and on an authorization server at its deadline", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.script("resource", [Reply.hang])
      assert.strictEqual(yield* refusal(provider), "resource_unreachable")
      provider.script("serverMetadata", [Reply.hang])
      assert.strictEqual(yield* refusal(provider), "authorization_server_unreachable")
    }).pipe(Effect.scoped, Effect.provide(layerWith({ discovery: "150 millis" }))))

  it.live("reads no more than the head of a resource that streams without end", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      provider.always("resource", Reply.endless)
      assert.strictEqual((yield* discover(provider)).issuer, provider.issuer)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
