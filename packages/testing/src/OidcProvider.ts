import { Effect, Redacted, type Scope } from "effect"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import type { RequestListener } from "node:http"
import Provider, { type ClientMetadata, type Configuration, errors, type KoaContextWithOIDC } from "oidc-provider"
import * as Canary from "./Canary.ts"
import * as Fingerprint from "./Fingerprint.ts"
import { OidcStorage } from "./internal/oidcStorage.ts"
import { listen } from "./LoopbackServer.ts"

/** Metadata of a client the provider knows from the start, in RFC 7591 spelling. */
export type Client = ClientMetadata

/** Options of {@link make}; every one has a default. */
export interface Options {
  /** Port on 127.0.0.1; 0, the default, takes a free one. A fixed port lets a restarted provider keep its issuer. */
  readonly port?: number
  readonly accessTokenTtlSeconds?: number
  readonly refreshTokenTtlSeconds?: number
  /** Rotates refresh tokens and revokes the family when a rotated one comes back. */
  readonly rotateRefreshTokens?: boolean
  readonly accessTokenFormat?: "opaque" | "jwt"
  /** Clients besides `native` (public) and `rs` (the resource server of {@link Provider.introspection}). */
  readonly clients?: ReadonlyArray<Client>
  /** Resources a token may be asked for; every one when absent. */
  readonly resources?: ReadonlyArray<string>
  readonly requirePushedAuthorizationRequests?: boolean
  /** Answers in signed tokens where a request asks for it (JARM). */
  readonly signsResponses?: boolean
  /** Wants its nonce in every proof of possession (RFC 9449 §8). */
  readonly requireDpopNonce?: boolean
  /** Members of its metadata that say something else than it would. */
  readonly metadata?: Readonly<Record<string, unknown>>
  /** Where a client id metadata document is fetched, by client id: lets an https client id be served from loopback. */
  readonly clientIdDocuments?: Readonly<Record<string, string>>
  /** Sees every secret the provider issues. Registers it as a canary by default. */
  readonly onSecret?: (kind: string, secret: string) => void
  /** Sees every redemption of a refresh token before it is answered, secrets included: for histories, not for printing. */
  readonly onRefresh?: (refresh: SeenRefresh) => void
}

/** A redemption of a refresh token as the provider decided it. */
export interface SeenRefresh {
  readonly presented: string
  /** The address that the request came from. */
  readonly from: string
  readonly accessToken: string | undefined
  readonly refreshToken: string | undefined
}

/** One request the provider answered. Secrets appear as fingerprints only. */
export interface LoggedRequest {
  readonly kind: "token" | "revocation" | "introspection" | "registration" | "pushed_authorization_request" | "device"
  readonly grantType: string | undefined
  readonly clientId: string | undefined
  /** `ok`, or the `error` code of the answer. */
  readonly outcome: string
  readonly status: number
  /** Fingerprint of the refresh token, code or token that the request carried. */
  readonly presented: Fingerprint.Fingerprint | undefined
  readonly issuedAccessToken: Fingerprint.Fingerprint | undefined
  readonly issuedRefreshToken: Fingerprint.Fingerprint | undefined
  readonly resource: string | undefined
  readonly scope: string | undefined
}

/** A running authorization server and what it saw. */
export interface OidcProvider {
  readonly issuer: string
  readonly port: number
  /** Requests in the order they were answered; grows while the provider runs, and stays empty beside `onRefresh`. */
  readonly log: ReadonlyArray<LoggedRequest>
  /** Credentials of the resource server that may introspect. */
  readonly introspection: { readonly clientId: string; readonly clientSecret: Redacted.Redacted }
  /** Token requests that carried this refresh token or code. */
  redemptions(secret: string | Redacted.Redacted): number
  /** Token requests per fingerprint of a refresh token. */
  readonly refreshes: ReadonlyMap<Fingerprint.Fingerprint, number>
  /** Families revoked because a used refresh token or code came back. */
  readonly reuseDetected: () => number
  /** Revocation requests that were answered with success. */
  readonly revocations: () => number
  /** The keys that a client registered. */
  keysOf(clientId: string): Promise<{ readonly keys: ReadonlyArray<{ readonly kid?: string }> }>
  /** Ends the life of every access token now. */
  readonly expireAccessTokens: Effect.Effect<void>
  /** Ends the life of every refresh token now: the next refresh is answered `invalid_grant`. */
  readonly expireRefreshTokens: Effect.Effect<void>
  /** Ends the life of every pushed authorization request now. */
  readonly expirePushedRequests: Effect.Effect<void>
  /** Forgets everything, as a restart with memory storage does. */
  readonly forget: Effect.Effect<void>
}

/**
 * Starts the certified `oidc-provider` in this process on 127.0.0.1 until the scope closes.
 *
 * Any login and password pass its login form; the login is the account, and with the scope `profile` its
 * `preferred_username` is `login@id.example`. Refresh tokens go to every client that may use the grant.
 */
export const make = (options: Options = {}): Effect.Effect<OidcProvider, never, Scope.Scope> =>
  Effect.gen(function*() {
    const onSecret = options.onSecret ?? Canary.register
    const introspection = { clientId: "rs", clientSecret: Canary.make("client_secret") }
    const storage = new OidcStorage()
    const log: Array<LoggedRequest> = []
    const refreshes = new Map<Fingerprint.Fingerprint, number>()
    const redemptions = new Map<Fingerprint.Fingerprint, number>()
    let reused = 0

    let handler: RequestListener = (_, response) => void response.writeHead(503).end()
    const { origin, port } = yield* listen((request, response) => handler(request, response), options.port)

    const provider = silently(() => new Provider(origin, configuration(options, storage, introspection)))
    provider.on("grant.revoked", (ctx) => {
      if (ctx.oidc.route === "token") reused++
    })
    provider.use(async (ctx: KoaContextWithOIDC, next) => {
      await next()
      const route = (ctx.oidc as KoaContextWithOIDC["oidc"] | undefined)?.route
      if (route === "discovery") ctx.body = { ...ctx.body as object, ...options.metadata }
      noticeCode(ctx, onSecret)
      const entry = observe(ctx, onSecret)
      if (entry === undefined) return
      if (options.onRefresh === undefined) log.push(entry)
      else if (entry.grantType === "refresh_token") {
        const body: Readonly<Record<string, unknown>> = { ...ctx.body as object }
        options.onRefresh({
          presented: text(ctx.oidc.params?.["refresh_token"]) ?? "",
          from: ctx.req.socket.remoteAddress ?? "",
          accessToken: text(body["access_token"]),
          refreshToken: text(body["refresh_token"])
        })
      }
      if (entry.kind !== "token" || entry.presented === undefined) return
      redemptions.set(entry.presented, (redemptions.get(entry.presented) ?? 0) + 1)
      if (entry.grantType === "refresh_token") {
        refreshes.set(entry.presented, (refreshes.get(entry.presented) ?? 0) + 1)
      }
    })
    handler = provider.callback()

    return {
      issuer: origin,
      port,
      log,
      introspection,
      refreshes,
      redemptions: (secret) =>
        redemptions.get(Fingerprint.of(typeof secret === "string" ? secret : Redacted.value(secret))) ?? 0,
      reuseDetected: () => reused,
      keysOf: async (clientId) => (await provider.Client.find(clientId))?.jwks as never ?? { keys: [] },
      revocations: () => log.filter((entry) => entry.kind === "revocation" && entry.outcome === "ok").length,
      expireAccessTokens: Effect.sync(() => storage.expire("AccessToken")),
      expireRefreshTokens: Effect.sync(() => storage.expire("RefreshToken")),
      expirePushedRequests: Effect.sync(() => storage.expire("PushedAuthorizationRequest")),
      forget: Effect.sync(() => storage.clear())
    }
  })

// The development notices of the provider are about production use; on stdout of a test run they are noise.
const silently = <A>(evaluate: () => A): A => {
  const { info, warn } = console
  console.info = console.warn = () => {}
  try {
    return evaluate()
  } finally {
    console.info = info
    console.warn = warn
  }
}

const kinds: Readonly<Record<string, LoggedRequest["kind"]>> = {
  token: "token",
  revocation: "revocation",
  introspection: "introspection",
  registration: "registration",
  pushed_authorization_request: "pushed_authorization_request",
  device_authorization: "device"
}

const text = (value: unknown): string | undefined => typeof value === "string" && value !== "" ? value : undefined
const fingerprint = (value: unknown): Fingerprint.Fingerprint | undefined => {
  const secret = text(value)
  return secret === undefined ? undefined : Fingerprint.of(secret)
}

const noticeCode = (ctx: KoaContextWithOIDC, onSecret: (kind: string, secret: string) => void): void => {
  const location = ctx.response.get("location")
  if (!URL.canParse(location)) return
  const { searchParams } = new URL(location)
  const response = searchParams.get("response")
  if (response !== null) onSecret("response", response)
  const signed = response === null
    ? undefined
    : JSON.parse(Buffer.from(response.split(".")[1] ?? "", "base64url").toString())
  const code = text(signed?.code) ?? searchParams.get("code")
  if (code !== null) onSecret("code", code)
}

const observe = (
  ctx: KoaContextWithOIDC,
  onSecret: (kind: string, secret: string) => void
): LoggedRequest | undefined => {
  // A request that fails before routing carries no `oidc` context.
  const oidc = ctx.oidc as KoaContextWithOIDC["oidc"] | undefined
  const kind = kinds[oidc?.route ?? ""]
  if (oidc === undefined || kind === undefined) return undefined
  const params: Readonly<Record<string, unknown>> = oidc.params ?? {}
  const body: Readonly<Record<string, unknown>> = typeof ctx.body === "object" && ctx.body !== null
    ? { ...ctx.body }
    : {}
  for (
    const name of [
      "access_token",
      "refresh_token",
      "id_token",
      "client_secret",
      "registration_access_token",
      "device_code"
    ]
  ) {
    const secret = text(body[name])
    if (secret !== undefined && kind !== "introspection") onSecret(name, secret)
  }
  return {
    kind,
    grantType: text(params["grant_type"]),
    clientId: oidc.client?.clientId ?? text(body["client_id"]),
    outcome: text(body["error"]) ?? (ctx.status < 400 ? "ok" : `http_${ctx.status}`),
    status: ctx.status,
    presented: fingerprint(params["refresh_token"] ?? params["code"] ?? params["token"] ?? params["device_code"]),
    issuedAccessToken: fingerprint(body["access_token"]),
    issuedRefreshToken: fingerprint(body["refresh_token"]),
    resource: text(params["resource"]),
    scope: text(params["scope"])
  }
}

/** The provider's own pages of the device flow say on stdout that they are no pages for people. */
const devicePage = (ctx: { body: unknown }, form: unknown): void => {
  ctx.body = `<!doctype html><title>Device</title>${typeof form === "string" ? form : "<p>Connected</p>"}`
}

const configuration = (
  options: Options,
  storage: OidcStorage,
  introspection: OidcProvider["introspection"]
): Configuration => {
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
  const grants = ["authorization_code", "refresh_token"]
  const accessTokenTtl = options.accessTokenTtlSeconds ?? 60
  const documents = options.clientIdDocuments ?? {}
  // A client that names none has RS256, for which there is no key here.
  const signed: Partial<ClientMetadata> = options.signsResponses === true
    ? { authorization_signed_response_alg: "ES256" }
    : {}
  const clients: ReadonlyArray<ClientMetadata> = [
    {
      ...signed,
      client_id: "native",
      application_type: "native",
      token_endpoint_auth_method: "none",
      grant_types: [...grants, "urn:ietf:params:oauth:grant-type:device_code"],
      redirect_uris: ["http://127.0.0.1/callback", "http://[::1]/callback"]
    },
    {
      ...signed,
      client_id: introspection.clientId,
      client_secret: Redacted.value(introspection.clientSecret),
      grant_types: [],
      redirect_uris: [],
      response_types: []
    }
  ]
  const features = {
    devInteractions: { enabled: true },
    registration: { enabled: true, initialAccessToken: false },
    registrationManagement: { enabled: true },
    revocation: { enabled: true, allowedPolicy: () => true },
    introspection: { enabled: true, allowedPolicy: () => true },
    deviceFlow: {
      enabled: true,
      userCodeInputSource: devicePage,
      userCodeConfirmSource: devicePage,
      successSource: devicePage
    },
    clientCredentials: { enabled: true },
    dPoP: {
      enabled: true,
      nonceSecret: randomBytes(32),
      requireNonce: () => options.requireDpopNonce === true
    },
    pushedAuthorizationRequests: {
      enabled: true,
      requirePushedAuthorizationRequests: options.requirePushedAuthorizationRequests ?? false
    },
    jwtResponseModes: { enabled: options.signsResponses ?? false },
    clientIdMetadataDocument: { enabled: true, ack: "draft-02" },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_: unknown, __: unknown, oneOf: string | undefined) => oneOf,
      useGrantedResource: () => true,
      getResourceServerInfo: (_: unknown, resource: string) => {
        if (options.resources !== undefined && !options.resources.includes(resource)) {
          throw new errors.InvalidTarget("unknown resource")
        }
        const jwt = options.accessTokenFormat === "jwt"
        return {
          scope: "mcp:read mcp:write",
          audience: resource,
          accessTokenTTL: accessTokenTtl,
          accessTokenFormat: jwt ? "jwt" : "opaque",
          ...(jwt ? { jwt: { sign: { alg: "ES256" } } } : {})
        }
      }
    }
  }
  return {
    adapter: (name: string) => storage.adapter(name),
    clients: [
      ...clients.filter(({ client_id }) => !options.clients?.some((own) => own.client_id === client_id)),
      ...(options.clients ?? [])
    ],
    jwks: { keys: [{ ...key, kid: "es", use: "sig", alg: "ES256" }] } as never,
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    cookies: { keys: [randomBytes(16).toString("hex")] },
    pkce: { required: () => true },
    scopes: ["openid", "profile", "offline_access", "mcp:read", "mcp:write"],
    claims: { openid: ["sub"], profile: ["preferred_username"] },
    // As at most providers, the name is in the ID token itself.
    conformIdTokenClaims: false,
    rotateRefreshToken: options.rotateRefreshTokens ?? true,
    // The provider's own rule wants `offline_access` with `prompt=consent`, which MCP clients do not ask for.
    issueRefreshToken: async (_: unknown, client: { grantTypeAllowed(grant: string): boolean }) =>
      client.grantTypeAllowed("refresh_token"),
    ttl: {
      AccessToken: accessTokenTtl,
      AuthorizationCode: 60,
      ClientCredentials: accessTokenTtl,
      DeviceCode: 300,
      Grant: 86_400,
      IdToken: 600,
      Interaction: 600,
      RefreshToken: options.refreshTokenTtlSeconds ?? 86_400,
      Session: 86_400
    },
    clientBasedCORS: () => false,
    findAccount: (_: unknown, id: string) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: `${id}@id.example` })
    }),
    // The provider's own dispatcher refuses loopback addresses.
    fetch: (url: string | URL, init: RequestInit) => {
      const mapped = documents[String(url)]
      return mapped === undefined ? fetch(url, init) : fetch(mapped, { ...init, dispatcher: undefined } as RequestInit)
    },
    features
  } as unknown as Configuration
}
