import { AccountChange } from "@valetkey/domain/Account"
import { refreshTermsFields } from "@valetkey/domain/RefreshTerms"
import {
  Quirks,
  ScopeToken,
  ServerSlug,
  StaticEndpoints,
  TokenCustody,
  TokenEndpointAuthMethod,
  UnattendedGrant
} from "@valetkey/domain/Server"
import { PublicKey } from "@valetkey/domain/SigningKey"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded, inConsole } from "./Policy.ts"
import { ClientId, DisplayName, misfit, PageLimit, WireSecret, WireUrl } from "./Text.ts"

const described = {
  name: Schema.optionalKey(DisplayName),
  /** The resource URL (RFC 8707); discovery starts here (RFC 9728). */
  resource: WireUrl,
  /** The only issuer to accept. */
  issuer: Schema.optionalKey(WireUrl),
  endpoints: Schema.optionalKey(StaticEndpoints),
  scopes: Schema.optionalKey(Schema.Array(ScopeToken).check(Schema.isMaxLength(100))),
  /** How tokens are obtained without a person; needs a client, with a secret unless the platform speaks for it. Absent, a person consents. */
  grant: Schema.optionalKey(UnattendedGrant),
  /**
   * With `proxied` no access token and no export of the server's connections leaves; requests go through the proxy. With
   * `identity` a connection keeps the person's ID token, for servers with the grant `identity_assertion`.
   */
  tokens: Schema.optionalKey(TokenCustody),
  /** What becomes of a new consent that another account gives: refused by default. */
  accountChange: Schema.optionalKey(AccountChange),
  ...refreshTermsFields
}

/** Schema for a server as its tenant sees it: no secret. */
export const ServerView = Schema.Struct({
  server: ServerSlug,
  ...described,
  client: Schema.optionalKey(Schema.Struct({
    clientId: Schema.String,
    authMethod: TokenEndpointAuthMethod,
    /** With `private_key_jwt` the key that the authorization server has to know, as a JWK (RFC 7517). */
    publicKey: Schema.optionalKey(PublicKey),
    redirectUri: Schema.optionalKey(Schema.String)
  })),
  quirks: Quirks,
  /** Where browsers come back over the gateway: what to register with a provider by hand. Not in lists. */
  gatewayRedirectUri: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "Server" })
export type ServerView = typeof ServerView.Type

/** Schema for a server as an operator describes it. Unknown keys are refused. */
export const ServerPayload = Schema.Struct({
  ...described,
  /** A client that was registered by hand. */
  client: Schema.optionalKey(
    Schema.Struct({
      clientId: ClientId,
      authMethod: TokenEndpointAuthMethod,
      /** With `private_key_jwt` its private key, as a JWK (RFC 7517); without one a key is made and its public half shown. */
      clientSecret: Schema.optionalKey(WireSecret),
      redirectUri: Schema.optionalKey(WireUrl)
    }).check(
      Schema.makeFilter(({ authMethod, clientSecret }) =>
        authMethod === "private_key_jwt" && clientSecret === undefined
          ? undefined
          : misfit(authMethod, clientSecret)
      )
    )
  ),
  quirks: Schema.optionalKey(Quirks)
}).check(
  Schema.makeFilter(({ client, endpoints, grant, issuer, scopes, tokens }) =>
    grant !== undefined && (client === undefined || client.authMethod === "none" && grant.type !== "workload_assertion")
      ? { path: ["client"], issue: "expected a client with a secret, because the grant asks no person" }
      : grant !== undefined && grant.type !== "client_credentials" && endpoints !== undefined
      ? { path: ["endpoints"], issue: "expected none: an assertion goes to a server whose metadata says who it is" }
      : tokens === "identity" && (grant !== undefined || scopes?.includes("openid") !== true ||
          endpoints !== undefined && issuer === undefined)
      ? { path: ["tokens"], issue: "expected a person's consent to the scope openid at a named issuer" }
      : grant === undefined && endpoints !== undefined && endpoints.authorization === undefined
      ? { path: ["endpoints", "authorization"], issue: "expected, because a person has to be sent there" }
      : undefined
  ),
  Schema.makeFilter(({ client, endpoints, issuer }) =>
    client?.authMethod === "private_key_jwt" && endpoints !== undefined && issuer === undefined
      ? { path: ["issuer"], issue: "expected with private_key_jwt: what is signed is for this issuer alone" }
      : undefined
  )
).annotate({ identifier: "ServerDescription" })
export type ServerPayload = typeof ServerPayload.Type

const Created = Schema.Struct({ created: Schema.Literal(true), server: ServerView })
const Replaced = Schema.Struct({ created: Schema.Literal(false), server: ServerView })
const params = { server: ServerSlug }

/** The servers of a tenant. */
export class ServersApi extends group(
  "servers",
  inConsole(guarded(
    ["connections:read"],
    HttpApiEndpoint.get("list", "/v1/servers", {
      query: { limit: Schema.optionalKey(PageLimit), after: Schema.optionalKey(ServerSlug) },
      success: Schema.Struct({ servers: Schema.Array(ServerView), next: Schema.optionalKey(ServerSlug) }),
      error: problems(503)
    }).annotate(OpenApi.Summary, "List the tenant's servers")
  )),
  guarded(
    ["connections:read"],
    HttpApiEndpoint.get("get", "/v1/servers/:server", { params, success: ServerView, error: problems(404, 503) })
      .annotate(OpenApi.Summary, "One server")
  ),
  guarded(
    ["admin"],
    HttpApiEndpoint.put("put", "/v1/servers/:server", {
      params,
      payload: ServerPayload,
      success: [Created.pipe(HttpApiSchema.status(201)), Replaced],
      error: problems(422, 503)
    }).annotate(OpenApi.Summary, "Create or replace a server")
  ),
  guarded(
    ["admin"],
    HttpApiEndpoint.delete("remove", "/v1/servers/:server", {
      params,
      success: HttpApiSchema.NoContent,
      error: problems(503)
    }).annotate(OpenApi.Summary, "Remove a server; its connections stay until they are disconnected")
  )
).annotate(OpenApi.Description, "The protected resources that people of a tenant can connect to.") {}
