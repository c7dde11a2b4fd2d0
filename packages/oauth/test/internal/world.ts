import { CallbackAccepted } from "@valetkey/domain/Authorization"
import { AuthorizationServer, type AuthorizationServerMetadata } from "@valetkey/domain/AuthorizationServer"
import { ConnectionKey, type Grant } from "@valetkey/domain/Connection"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowId } from "@valetkey/domain/Flow"
import { Sealed } from "@valetkey/domain/Sealed"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { local } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { OAuth } from "@valetkey/oauth"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"

export const redirectUri = "http://127.0.0.1:49152/cb/test"

/** The adapter over a guarded client that lets loopback resources through, as the local profile does. */
export const layerWith = (options: OAuth.OAuthOptions = {}): Layer.Layer<AuthorizationServer> =>
  OAuth.layerWith(options).pipe(Layer.provide(Egress.layer({ policy: local() })))

export const layer = layerWith()

const key = new ConnectionKey({
  tenant: TenantId.make("acme"),
  subject: SubjectId.make("ada"),
  server: ServerSlug.make("notes")
})

/** A server as an operator describes it. */
export const server = (
  resource: string,
  rest: Partial<ConstructorParameters<typeof Server>[0]> = {}
): Server => new Server({ tenant: key.tenant, slug: key.server, resource, quirks: {}, ...rest })

export const secret = (): Redacted.Redacted => Redacted.make(randomBytes(32).toString("base64url"))

/** The grant of a public client, as a start freezes it from metadata. */
const grantOf = (metadata: AuthorizationServerMetadata, rest: Partial<Grant> = {}): Grant => ({
  issuer: metadata.issuer,
  tokenEndpoint: metadata.tokenEndpoint,
  ...(metadata.revocationEndpoint === undefined ? {} : { revocationEndpoint: metadata.revocationEndpoint }),
  clientId: "fake-client",
  authMethod: "none",
  resource: metadata.resource,
  redemptionPolicy: "retry-once",
  ...rest
})

/** A grant at an origin, without discovery. */
export const grantAt = (origin: string, rest: Partial<Grant> = {}): Grant => ({
  issuer: origin,
  tokenEndpoint: `${origin}/token`,
  revocationEndpoint: `${origin}/revoke`,
  clientId: "fake-client",
  authMethod: "none",
  resource: `${origin}/api`,
  redemptionPolicy: "retry-once",
  ...rest
})

/** An accepted callback of a flow with this grant. */
export const accepted = (grant: Grant, code: Redacted.Redacted, uri = redirectUri): CallbackAccepted =>
  CallbackAccepted.resume({
    id: FlowId.make("019ab000-0000-7000-8000-000000000001"),
    key,
    fence: 1,
    transport: "loopback",
    confirmation: "none",
    authorization: {
      snapshot: {
        authorizationEndpoint: `${grant.issuer}/authorize`,
        redirectUri: uri,
        issRequired: false,
        scopes: ["mcp:read"]
      },
      grant,
      stateHash: Digest.make("A".repeat(43)),
      context: "context",
      codeVerifier: Sealed.make(new Uint8Array(1))
    }
  }, code)

/** Discovers, has the person consent, and returns the code with everything that an exchange needs. */
export const consent = (
  target: Server,
  client: {
    readonly clientId?: string
    readonly authMethod?: Grant["authMethod"]
    readonly redirectUri?: string
    /** Who signs in; asks for an ID token. */
    readonly login?: string
    readonly proofKey?: Redacted.Redacted
  } = {}
) =>
  Effect.gen(function*() {
    const oauth = yield* AuthorizationServer
    const metadata = yield* oauth.discover(target)
    const grant = grantOf(metadata, {
      clientId: client.clientId ?? "fake-client",
      authMethod: client.authMethod ?? "none"
    })
    const uri = client.redirectUri ?? redirectUri
    const [state, codeVerifier] = [secret(), secret()]
    const nonce = client.login === undefined ? undefined : secret()
    const url = yield* oauth.authorizationUrl({
      authorizationEndpoint: metadata.authorizationEndpoint!,
      clientId: grant.clientId,
      redirectUri: uri,
      scopes: [...metadata.scopes ?? ["mcp:read"], ...(nonce === undefined ? [] : ["openid", "profile"])],
      resource: metadata.resource,
      state,
      codeVerifier,
      nonce,
      proofKey: client.proofKey,
      parameters: {}
    })
    const callback = yield* UserAgent.make(client).callbackUrl(Redacted.value(url), uri)
    if (!callback.searchParams.has("code")) return yield* Effect.die(`no code: ${callback.searchParams.get("error")}`)
    const code = Redacted.make(callback.searchParams.get("code") ?? "")
    return { metadata, grant, state, codeVerifier, nonce, callback, code, callbackAccepted: accepted(grant, code, uri) }
  })
