import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import { WorkloadName } from "@valetkey/domain/Server"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import { DateTime, Duration, Effect, Redacted } from "effect"
import { consent, grantAt, layer, redirectUri, server } from "./internal/world.ts"

const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
const assertionType = "urn:ietf:params:oauth:token-type:id-jag"

/** A signed token as somebody's server would make it; its signature is nobody's. */
const signed = (claims: Record<string, unknown>, header: Record<string, unknown> = { alg: "ES256" }) =>
  [JSON.stringify(header), JSON.stringify(claims), "signature"]
    .map((part) => Buffer.from(part).toString("base64url")).join(".")

const inAnHour = Math.floor(Date.now() / 1000) + 3600

const form = (provider: FakeProvider.FakeProvider) =>
  provider.requests("token").map(({ body }) => Object.fromEntries(new URLSearchParams(body)))

describe("an assertion of an identity provider", () => {
  /** An identity provider and an authorization server, each of which a client of ours is known to. */
  const world = Effect.gen(function*() {
    const [idp, as] = [yield* FakeProvider.make(), yield* FakeProvider.make()]
    const clientSecret = Canary.make("client_secret")
    as.clients.set("robot", { clientId: "robot", secrets: [Redacted.value(clientSecret)] })
    as.always("token", Reply.json(200, { access_token: "at", token_type: "Bearer", refresh_token: "rt" }))
    const grant = grantAt(as.origin, {
      clientId: "robot",
      authMethod: "client_secret_basic",
      unattended: { grant: { type: "client_credentials" }, scopes: ["mcp:read"] }
    })
    const idToken = Canary.make("id_token")
    const oauth = yield* AuthorizationServer
    const obtain = oauth.obtain(grant, {
      clientSecret,
      authority: { _tag: "Identity", grant: grantAt(idp.origin), clientSecret: undefined, idToken }
    })
    const honest = {
      header: { alg: "ES256", typ: "oauth-id-jag+jwt" },
      claims: { iss: idp.origin, aud: as.origin, client_id: "robot", resource: grant.resource, exp: inAnHour }
    }
    const issue = (
      changes: { readonly header?: object; readonly claims?: object; readonly type?: string; readonly text?: string } =
        {}
    ) => {
      const { claims, header, text, type = assertionType } = changes
      const assertion = text ?? signed({ ...honest.claims, ...claims }, { ...honest.header, ...header })
      idp.always("token", Reply.json(200, { access_token: assertion, issued_token_type: type, token_type: "N_A" }))
      return assertion
    }
    return { idp, as, grant, idToken, obtain, issue }
  })

  it.live("EXT-08 is asked for at the ID token's issuer, for the authorization server and the resource, and redeemed there", () =>
    Effect.gen(function*() {
      const { as, grant, idToken, idp, issue, obtain } = yield* world
      const assertion = issue()
      const credentials = yield* obtain
      assert.strictEqual(Redacted.value(credentials.accessToken), "at")
      assert.isFalse("refreshToken" in credentials)
      assert.deepStrictEqual(form(idp), [{
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        requested_token_type: assertionType,
        audience: as.origin,
        resource: grant.resource!,
        scope: "mcp:read",
        subject_token: Redacted.value(idToken),
        subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
        client_id: "fake-client"
      }])
      assert.deepStrictEqual(form(as), [
        { grant_type: jwtBearer, assertion, resource: grant.resource!, scope: "mcp:read" }
      ])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-08 is not used when its type, issuer, audience, client, resource or time is another", () =>
    Effect.gen(function*() {
      const { as, grant, idp, issue, obtain } = yield* world
      const flaws = [
        { type: "urn:ietf:params:oauth:token-type:access_token" },
        { header: { typ: "JWT" } },
        { claims: { iss: as.origin } },
        { claims: { aud: "https://other.example" } },
        { claims: { aud: undefined } },
        { claims: { client_id: "other" } },
        { claims: { resource: `${grant.resource}/other` } },
        { claims: { resource: [`${grant.resource}/other`] } },
        { claims: { exp: inAnHour - 7200 } },
        { claims: { exp: undefined } },
        { text: "opaque" }
      ]
      for (const flaw of flaws) {
        issue(flaw)
        const { reason } = yield* Effect.flip(obtain)
        assert.deepStrictEqual(reason, { _tag: "Configuration", error: "invalid_grant" }, JSON.stringify(flaw))
      }
      assert.lengthOf(idp.requests("token"), flaws.length)
      assert.lengthOf(as.requests("token"), 0)
      issue({ claims: { aud: ["https://other.example", `${as.origin}/`], resource: undefined } })
      yield* obtain
      issue({ claims: { resource: ["https://other.example/", grant.resource] } })
      yield* obtain
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("EXT-08 tells whose refusal it was: the identity provider's is the person's affair, the server's the operator's", () =>
    Effect.gen(function*() {
      const { as, idp, issue, obtain } = yield* world
      idp.always("token", Reply.error("invalid_grant"))
      assert.deepStrictEqual((yield* Effect.flip(obtain)).reason, { _tag: "Terminal", error: "invalid_grant" })
      idp.always("token", Reply.error("invalid_client", 401))
      assert.deepStrictEqual((yield* Effect.flip(obtain)).reason, { _tag: "Configuration", error: "invalid_client" })
      idp.always("token", Reply.html(503))
      assert.strictEqual((yield* Effect.flip(obtain)).reason._tag, "Transient")
      issue()
      as.always("token", Reply.error("invalid_grant"))
      assert.deepStrictEqual((yield* Effect.flip(obtain)).reason, { _tag: "Configuration", error: "invalid_grant" })
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("a token of the platform", () => {
  const workload = (origin: string): Grant =>
    grantAt(origin, {
      clientId: "workload",
      unattended: { grant: { type: "workload_assertion", workload: WorkloadName.make("cluster") }, scopes: [] }
    })

  it.live("is redeemed at the authorization server that it names, and leaves for no other", () =>
    Effect.gen(function*() {
      const as = yield* FakeProvider.make()
      as.always("token", Reply.json(200, { access_token: "at", token_type: "Bearer" }))
      const oauth = yield* AuthorizationServer
      const grant = workload(as.origin)
      const obtain = (text: string) =>
        oauth.obtain(grant, {
          clientSecret: undefined,
          authority: { _tag: "Workload", token: Redacted.make(text) }
        })
      for (const aud of ["https://other.example", undefined, [], [7], `${as.origin}.other.example`]) {
        const { reason } = yield* Effect.flip(obtain(signed({ aud })))
        assert.deepStrictEqual(reason, { _tag: "Configuration", error: "invalid_target" })
      }
      assert.deepStrictEqual((yield* Effect.flip(obtain("opaque"))).reason, {
        _tag: "Configuration",
        error: "invalid_grant"
      })
      assert.lengthOf(as.requests("token"), 0)
      const assertion = signed({ aud: [as.origin] })
      yield* obtain(assertion)
      assert.deepStrictEqual(form(as), [
        { grant_type: jwtBearer, assertion, client_id: "workload", resource: grant.resource! }
      ])
    }).pipe(Effect.scoped, Effect.provide(layer)))
})

describe("an identity provider's ID token", () => {
  it.live("stands in the place of the access token for as long as it is good, and is renewed with the refresh token", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const oauth = yield* AuthorizationServer
      const target = server(`${provider.issuer}/mcp`, { tokens: "identity" })
      const metadata = yield* oauth.discover(target)
      const client = yield* oauth.register(metadata, { redirectUri, transport: "loopback", scopes: [] })
      const { callbackAccepted, codeVerifier, nonce, ...told } = yield* consent(target, { ...client, login: "ada" })
      const grant: Grant = { ...told.grant, keeps: "id_token" }
      const accepted = {
        ...callbackAccepted,
        flow: { ...callbackAccepted.flow, authorization: { ...callbackAccepted.flow.authorization, grant } }
      } as typeof callbackAccepted
      const first = yield* oauth.exchange(accepted, { codeVerifier, nonce, clientSecret: undefined })
      const second = yield* oauth.refresh(grant, { refreshToken: first.refreshToken!, clientSecret: undefined })
      for (const { accessToken, expiresAt, issuedAt } of [first, second]) {
        const [, payload = ""] = Redacted.value(accessToken).split(".")
        const claims = JSON.parse(Buffer.from(payload, "base64url").toString())
        assert.deepInclude(claims, { iss: provider.issuer, sub: "ada", aud: client.clientId })
        assert.strictEqual(Duration.toSeconds(DateTime.distance(issuedAt, expiresAt!)), 600)
      }
      assert.notStrictEqual(Redacted.value(first.refreshToken!), Redacted.value(second.refreshToken!))
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("has to come with the consent", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      const { callbackAccepted, codeVerifier, grant } = yield* consent(server(provider.resource), {})
      const { authorization, ...flow } = callbackAccepted.flow
      const accepted = {
        ...callbackAccepted,
        flow: { ...flow, authorization: { ...authorization, grant: { ...grant, keeps: "id_token" } } }
      } as typeof callbackAccepted
      const { reason } = yield* Effect.flip(oauth.exchange(accepted, { codeVerifier, clientSecret: undefined }))
      assert.strictEqual(reason._tag, "UntrustedIdToken")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("leaves an empty place where the answer has none, and keeps what was redeemed for it", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const oauth = yield* AuthorizationServer
      const { refreshToken } = provider.grant()
      const grant = grantAt(provider.origin, { keeps: "id_token" })
      const credentials = yield* oauth.refresh(grant, { refreshToken, clientSecret: undefined })
      assert.strictEqual(Redacted.value(credentials.accessToken), "")
      assert.isTrue(DateTime.isLessThan(credentials.issuedAt, credentials.expiresAt!))
      assert.isDefined(credentials.refreshToken)
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
