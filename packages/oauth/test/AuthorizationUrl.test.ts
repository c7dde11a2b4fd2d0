import { assert, describe, it } from "@effect/vitest"
import type { AuthorizationRequest } from "@valetkey/domain/AuthorizationServer"
import { AuthorizationUrl } from "@valetkey/oauth"
import { Effect, Redacted } from "effect"

const request: AuthorizationRequest = {
  authorizationEndpoint: "https://as.example/authorize",
  clientId: "client",
  redirectUri: "http://127.0.0.1:1234/cb/x",
  scopes: ["a", "b"],
  resource: "https://api.example/mcp",
  state: Redacted.make("the-state"),
  // RFC 7636 appendix B
  codeVerifier: Redacted.make("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
  parameters: {}
}

const make = (changes: Partial<AuthorizationRequest> = {}): URL =>
  new URL(Redacted.value(AuthorizationUrl.make({ ...request, ...changes })))

describe("AuthorizationUrl", () => {
  it.effect("S1.2 FLOW-28 DISC-16 carries code, PKCE S256, state, scope and resource, each once", () =>
    Effect.sync(() => {
      assert.deepStrictEqual([...make().searchParams].sort(), [
        ["client_id", "client"],
        ["code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
        ["code_challenge_method", "S256"],
        ["redirect_uri", "http://127.0.0.1:1234/cb/x"],
        ["resource", "https://api.example/mcp"],
        ["response_type", "code"],
        ["scope", "a b"],
        ["state", "the-state"]
      ])
    }))

  it.effect("S1.37 DISC-13 omits an empty scope and an absent resource", () =>
    Effect.sync(() => {
      const { searchParams } = make({ scopes: [], resource: undefined })
      assert.isFalse(searchParams.has("scope"))
      assert.isFalse(searchParams.has("resource"))
    }))

  it.effect("TOK-23 carries a nonce where an ID token is asked for", () =>
    Effect.sync(() => {
      assert.isFalse(make().searchParams.has("nonce"))
      assert.deepStrictEqual(make({ nonce: Redacted.make("n-0S6_WzA2Mj") }).searchParams.getAll("nonce"), [
        "n-0S6_WzA2Mj"
      ])
    }))

  it.effect("FLOW-32 lets neither the endpoint's query nor extra parameters override the protocol", () =>
    Effect.sync(() => {
      const evil = {
        state: "x",
        redirect_uri: "https://evil.example/",
        client_id: "z",
        response_type: "token",
        response_mode: "form_post",
        code_challenge: "x",
        code_challenge_method: "plain",
        scope: "admin",
        resource: "https://evil.example/",
        request_uri: "urn:evil",
        request: "evil",
        nonce: "n"
      }
      const url = make({
        authorizationEndpoint: `https://as.example/authorize?tenant=t&${new URLSearchParams(evil)}&state=y`,
        parameters: { ...evil, prompt: "consent", access_type: "offline" }
      })
      const plain = make()
      for (const name of Object.keys(evil)) {
        assert.deepStrictEqual(url.searchParams.getAll(name), plain.searchParams.getAll(name), name)
      }
      assert.deepStrictEqual(url.searchParams.getAll("tenant"), ["t"])
      assert.strictEqual(url.searchParams.get("prompt"), "consent")
      assert.strictEqual(url.searchParams.get("access_type"), "offline")
    }))

  it.effect("keeps the URL, which holds the state, out of what is printed", () =>
    Effect.sync(() => assert.notInclude(String(AuthorizationUrl.make(request)), "the-state")))
})
