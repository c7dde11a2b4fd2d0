import { createHash } from "node:crypto"
import * as Canary from "../Canary.ts"
import type { Answer } from "../Reply.ts"
import { FakeGrants, type Issued, type Rotation } from "./fakeGrants.ts"
import * as FakeQuirks from "./fakeQuirks.ts"

/** Endpoints of the fake provider by the name under which they are scripted. */
export type Endpoint =
  | "serverMetadata"
  | "resourceMetadata"
  | "registration"
  | "pushedAuthorization"
  | "authorization"
  | "device"
  | "token"
  | "revocation"
  | "introspection"
  | "resource"
  | "elsewhere"

/** How the honest server behaves; every member may change while it runs. */
export interface Behaviour {
  rotation: Rotation
  accessTokenTtlSeconds: number
  /** How long a refresh token may lie unused, which every answer says; undefined for as long as anybody likes. */
  refreshTokenIdleSeconds: number | undefined
  /** Issues refresh tokens. */
  refreshTokens: boolean
  /** Refuses a request without PKCE S256. */
  requirePkce: boolean
  /** The `iss` of authorization responses: the issuer, none, or another one. */
  iss: "on" | "off" | { readonly wrong: string }
  /** What the person, who answers at once, says; an error code refuses with that code. */
  consent: "approve" | { readonly error: string }
  subject: string
  /** Scopes granted instead of those requested. */
  grantedScopes: ReadonlyArray<string> | undefined
  /** Scopes the resource demands. */
  requiredScopes: ReadonlyArray<string>
  registration: boolean
  /** Accepts an `https` URL as a client id (CIMD) without fetching it. */
  clientIdDocuments: boolean
  /** How it departs from the standards. */
  quirks: ReadonlyArray<FakeQuirks.Quirk>
}

/** A client of the fake provider; without redirect URIs any is accepted. */
export interface FakeClient {
  readonly clientId: string
  /** Current secret and, during an overlap, older ones; a public client has none. */
  readonly secrets: ReadonlyArray<string>
  readonly redirectUris?: ReadonlyArray<string>
}

/** A request as it arrived. */
export interface Incoming {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly body: string
  readonly form: URLSearchParams
}

interface Authorized {
  readonly clientId: string
  readonly redirectUri: string
  readonly challenge: string | undefined
  readonly scopes: ReadonlyArray<string>
  readonly resource: string | undefined
  readonly subject: string
  readonly expiresAt: number
  issued?: Issued
}

interface Device {
  readonly clientId: string
  readonly scopes: ReadonlyArray<string>
  readonly resource: string | undefined
  state: "pending" | "approved" | "denied"
}

const json = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
  body: JSON.stringify(body)
})
const refuse = (error: string, status = 400): Answer => json(status, { error })

/** The honest half of the fake provider: one request in, one answer out, at once. */
export class FakeServer {
  readonly clients = new Map<string, FakeClient>()
  readonly devices = new Map<string, Device>()
  readonly grants: FakeGrants
  private readonly codes = new Map<string, Authorized>()
  private readonly pushed = new Map<string, URLSearchParams>()
  readonly issuer: string
  readonly resource: string
  /** Issuers that the resource names; this server alone unless told otherwise. */
  authorizationServers: ReadonlyArray<string>
  /** Whose tokens the resource accepts. */
  tokensOf: FakeGrants
  readonly behaviour: Behaviour
  private readonly now: () => number

  constructor(issuer: string, resource: string, behaviour: Behaviour, now: () => number) {
    this.issuer = issuer
    this.resource = resource
    this.authorizationServers = [issuer]
    this.behaviour = behaviour
    this.now = now
    this.grants = new FakeGrants(now)
    this.tokensOf = this.grants
  }

  answer(endpoint: Endpoint, request: Incoming): Answer {
    switch (endpoint) {
      case "serverMetadata":
        return json(200, this.metadata())
      case "resourceMetadata":
        return json(200, {
          resource: this.resource,
          authorization_servers: this.authorizationServers,
          scopes_supported: this.behaviour.requiredScopes,
          bearer_methods_supported: ["header"]
        })
      case "registration":
        return this.register(request)
      case "pushedAuthorization":
        return this.push(request)
      case "authorization":
        return this.authorize(request)
      case "device":
        return this.device(request)
      case "token":
        return FakeQuirks.written(this.token(request), this.behaviour.quirks)
      case "revocation":
        return this.revoke(request)
      case "introspection":
        return this.introspect(request)
      case "resource":
        return this.protectedResource(request)
      case "elsewhere":
        return refuse("not_found", 404)
    }
  }

  /** RFC 8414 section 2. */
  private metadata(): Record<string, unknown> {
    const at = (path: string) => `${this.issuer}${path}`
    return {
      issuer: this.issuer,
      authorization_endpoint: at("/authorize"),
      token_endpoint: at("/token"),
      revocation_endpoint: at("/revoke"),
      introspection_endpoint: at("/introspect"),
      pushed_authorization_request_endpoint: at("/par"),
      device_authorization_endpoint: at("/device"),
      ...(this.behaviour.registration ? { registration_endpoint: at("/register") } : {}),
      ...(this.behaviour.clientIdDocuments ? { client_id_metadata_document_supported: true } : {}),
      authorization_response_iss_parameter_supported: this.behaviour.iss !== "off",
      response_types_supported: ["code"],
      grant_types_supported: [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code"
      ],
      code_challenge_methods_supported: ["S256"],
      token_endpoint_auth_methods_supported: ["none", "client_secret_basic", "client_secret_post"],
      scopes_supported: [...this.behaviour.requiredScopes, "offline_access"]
    }
  }

  /** RFC 7591 section 3. */
  private register(request: Incoming): Answer {
    if (!this.behaviour.registration) return refuse("not_found", 404)
    const metadata = parseObject(request.body)
    const redirectUris = metadata?.["redirect_uris"]
    if (metadata === undefined || !Array.isArray(redirectUris)) return refuse("invalid_client_metadata")
    const clientId = `client-${this.clients.size + 1}`
    const method = metadata["token_endpoint_auth_method"] ?? "client_secret_basic"
    const secret = method === "none" ? undefined : Canary.makeText("client_secret")
    this.clients.set(clientId, {
      clientId,
      secrets: secret === undefined ? [] : [secret],
      redirectUris: redirectUris.map(String)
    })
    return json(201, {
      ...metadata,
      client_id: clientId,
      ...(secret === undefined ? {} : { client_secret: secret, client_secret_expires_at: 0 }),
      token_endpoint_auth_method: method
    })
  }

  /** RFC 9126 section 2. */
  private push(request: Incoming): Answer {
    const client = this.authenticate(request)
    if (client === undefined) return refuse("invalid_client", 401)
    const uri = `urn:ietf:params:oauth:request_uri:${Canary.makeText("request_uri")}`
    this.pushed.set(uri, request.form)
    return json(201, { request_uri: uri, expires_in: 60 })
  }

  private authorize(request: Incoming): Answer {
    const direct = request.url.searchParams
    const parameters = this.pushed.get(direct.get("request_uri") ?? "") ?? direct
    const client = this.client(direct.get("client_id") ?? parameters.get("client_id") ?? "")
    const redirectUri = parameters.get("redirect_uri") ?? client?.redirectUris?.[0]
    // Before both are known to belong together nothing may be redirected anywhere.
    if (client === undefined || redirectUri === undefined || !allows(client, redirectUri)) {
      return { status: 400, headers: { "content-type": "text/html" }, body: "<h1>Unknown client or redirect URI</h1>" }
    }
    const back = (answers: Readonly<Record<string, string>>): Answer => {
      const url = new URL(redirectUri)
      const { iss } = this.behaviour
      const state = parameters.get("state")
      for (const [name, value] of Object.entries(answers)) url.searchParams.set(name, value)
      if (state !== null) url.searchParams.set("state", state)
      if (iss !== "off") url.searchParams.set("iss", iss === "on" ? this.issuer : iss.wrong)
      return { status: 302, headers: { location: url.href, "cache-control": "no-store" }, body: "" }
    }
    if (this.behaviour.consent !== "approve") return back({ error: this.behaviour.consent.error })
    if (parameters.get("response_type") !== "code") return back({ error: "unsupported_response_type" })
    if (this.refusesResourceOf(parameters)) return back({ error: "invalid_target" })
    const challenge = parameters.get("code_challenge") ?? undefined
    if (this.behaviour.requirePkce && (challenge === undefined || parameters.get("code_challenge_method") !== "S256")) {
      return back({ error: "invalid_request" })
    }
    const code = Canary.makeText("code")
    this.codes.set(code, {
      clientId: client.clientId,
      redirectUri,
      challenge,
      scopes: this.behaviour.grantedScopes ?? FakeQuirks.requestedScopes(parameters, this.behaviour.quirks),
      resource: parameters.get("resource") ?? undefined,
      // OpenID Connect Core section 3.1.2.1: here the person is whom the hint says.
      subject: parameters.get("login_hint") ?? this.behaviour.subject,
      expiresAt: this.now() + 60_000
    })
    return back({ code })
  }

  /** RFC 8628 section 3.2. */
  private device(request: Incoming): Answer {
    const client = this.authenticate(request)
    if (client === undefined) return refuse("invalid_client", 401)
    const deviceCode = Canary.makeText("device_code")
    this.devices.set(deviceCode, {
      clientId: client.clientId,
      scopes: this.behaviour.grantedScopes ?? scopesOf(request.form.get("scope")),
      resource: request.form.get("resource") ?? undefined,
      state: "pending"
    })
    return json(200, {
      device_code: deviceCode,
      user_code: "WDJB-MJHT",
      verification_uri: `${this.issuer}/activate`,
      expires_in: 600,
      interval: 5
    })
  }

  private token(request: Incoming): Answer {
    const form = FakeQuirks.parametersOf(request, this.behaviour.quirks)
    if (form === undefined || this.refusesResourceOf(form)) return refuse("invalid_request")
    const client = this.authenticate({ ...request, form })
    if (client === undefined) return refuse("invalid_client", 401)
    switch (form.get("grant_type")) {
      case "authorization_code":
        return this.redeemCode(client, form)
      case "refresh_token": {
        const { accessTokenTtlSeconds, quirks, refreshTokenIdleSeconds, rotation } = this.behaviour
        const issued = this.grants.redeem(
          form.get("refresh_token") ?? "",
          client.clientId,
          rotation,
          accessTokenTtlSeconds,
          refreshTokenIdleSeconds
        )
        if (issued === undefined) return refuse("invalid_grant")
        if (quirks.includes("former_access_token_ends")) {
          for (const former of issued.family.accessTokens.slice(0, -1)) this.grants.access.delete(former)
        }
        return this.issued(issued, true)
      }
      case "urn:ietf:params:oauth:grant-type:device_code":
        return this.redeemDevice(client, form)
      default:
        return refuse("unsupported_grant_type")
    }
  }

  private redeemCode(client: FakeClient, form: URLSearchParams): Answer {
    const row = this.codes.get(form.get("code") ?? "")
    if (row === undefined || row.clientId !== client.clientId) return refuse("invalid_grant")
    if (row.issued !== undefined) {
      // RFC 6749 section 4.1.2: a code that comes back takes its tokens with it.
      row.issued.family.revoked = true
      return refuse("invalid_grant")
    }
    const verifier = form.get("code_verifier") ?? ""
    const challenge = createHash("sha256").update(verifier).digest("base64url")
    const proven = row.challenge === undefined ? verifier === "" : row.challenge === challenge
    const matches = row.redirectUri === form.get("redirect_uri") && row.expiresAt > this.now()
    if (!proven || !matches) return refuse("invalid_grant")
    row.issued = this.open(row)
    return this.issued(row.issued)
  }

  private redeemDevice(client: FakeClient, form: URLSearchParams): Answer {
    const code = form.get("device_code") ?? ""
    const row = this.devices.get(code)
    if (row === undefined || row.clientId !== client.clientId) return refuse("invalid_grant")
    if (row.state === "pending") return refuse("authorization_pending")
    this.devices.delete(code)
    return row.state === "denied" ? refuse("access_denied") : this.issued(this.open(row))
  }

  open({ clientId, resource, scopes, subject = this.behaviour.subject }:
    & Pick<Authorized, "clientId" | "scopes" | "resource">
    & Partial<Pick<Authorized, "subject">>): Issued
  {
    const { accessTokenTtlSeconds, refreshTokens } = this.behaviour
    return this.grants.open({ clientId, resource, scopes, subject }, accessTokenTtlSeconds, refreshTokens)
  }

  private issued({ accessToken, family, refreshToken }: Issued, again = false): Answer {
    const tokens = {
      access_token: accessToken,
      token_type: "Bearer",
      expires_in: this.behaviour.accessTokenTtlSeconds,
      ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
      ...(this.behaviour.refreshTokenIdleSeconds === undefined || refreshToken === undefined
        ? {}
        : { refresh_token_expires_in: this.behaviour.refreshTokenIdleSeconds }),
      ...(family.scopes.length === 0 ? {} : { scope: family.scopes.join(" ") })
    }
    return json(200, FakeQuirks.issued(tokens, again, this.behaviour.quirks))
  }

  private refusesResourceOf(parameters: URLSearchParams): boolean {
    return this.behaviour.quirks.includes("refuses_resource") && parameters.has("resource")
  }

  /** RFC 7009 section 2.1: an unknown token is revoked already. */
  private revoke(request: Incoming): Answer {
    if (this.behaviour.quirks.includes("bearer_revocation")) return this.revokeByItself(request)
    const form = FakeQuirks.parametersOf(request, this.behaviour.quirks)
    if (form === undefined) return refuse("invalid_request")
    if (this.authenticate({ ...request, form }) === undefined) return refuse("invalid_client", 401)
    const family = this.grants.familyOf(form.get("token") ?? "")
    if (family !== undefined) family.revoked = true
    return { status: 200, headers: {}, body: "" }
  }

  /** As Slack's `auth.revoke`: 200 whatever comes of it. */
  private revokeByItself(request: Incoming): Answer {
    const token = String(request.headers["authorization"] ?? "").replace(/^Bearer /, "")
    const row = this.grants.active(token)
    if (row === undefined || request.body !== "") return json(200, { ok: false, error: "invalid_auth" })
    row.family.revoked = true
    return json(200, { ok: true, revoked: true })
  }

  private introspect(request: Incoming): Answer {
    const token = request.form.get("token") ?? ""
    const row = this.grants.active(token)
    if (row === undefined) return json(200, { active: this.grants.refreshable(token) })
    return json(200, {
      active: true,
      client_id: row.family.clientId,
      sub: row.family.subject,
      scope: row.family.scopes.join(" "),
      exp: Math.floor(row.expiresAt / 1000),
      ...(row.family.resource === undefined ? {} : { aud: row.family.resource })
    })
  }

  /** RFC 6750 section 3 and RFC 9728 section 5.1. */
  private protectedResource(request: Incoming): Answer {
    const metadata = `resource_metadata="${new URL(this.resource).origin}/.well-known/oauth-protected-resource/api"`
    const challenge = (status: number, parameters: string) =>
      json(status, { error: "unauthorized" }, { "www-authenticate": `Bearer ${parameters}${metadata}` })
    const [scheme, token = ""] = String(request.headers["authorization"] ?? "").split(" ")
    if (scheme?.toLowerCase() !== "bearer") return challenge(401, "")
    const row = this.tokensOf.active(token)
    if (row === undefined) return challenge(401, `error="invalid_token", `)
    const missing = this.behaviour.requiredScopes.filter((scope) => !row.family.scopes.includes(scope))
    if (missing.length > 0) {
      const scopes = this.behaviour.requiredScopes.join(" ")
      return challenge(403, `error="insufficient_scope", scope="${scopes}", `)
    }
    return json(200, { sub: row.family.subject, scopes: row.family.scopes, path: request.url.pathname })
  }

  private client(clientId: string): FakeClient | undefined {
    const document = this.behaviour.clientIdDocuments && clientId.startsWith("https://")
    return this.clients.get(clientId) ?? (document ? { clientId, secrets: [] } : undefined)
  }

  /** RFC 6749 section 2.3.1. */
  private authenticate({ form, headers }: Incoming): FakeClient | undefined {
    const [scheme, encoded = ""] = String(headers["authorization"] ?? "").split(" ")
    const basic = scheme?.toLowerCase() === "basic"
      ? Buffer.from(encoded, "base64").toString().split(":").map((part) =>
        decodeURIComponent(part.replaceAll("+", " "))
      )
      : undefined
    const client = this.client(basic?.[0] ?? form.get("client_id") ?? "")
    if (client === undefined || client.secrets.length === 0) return client
    return client.secrets.includes(basic?.[1] ?? form.get("client_secret") ?? "") ? client : undefined
  }
}

const scopesOf = (scope: string | null): ReadonlyArray<string> => (scope ?? "").split(" ").filter((one) => one !== "")

const parseObject = (body: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** RFC 8252 section 7.3: the port of a loopback redirect URI is free. */
const allows = (client: FakeClient, redirectUri: string): boolean => {
  if (!URL.canParse(redirectUri)) return false
  return client.redirectUris === undefined ||
    client.redirectUris.some((uri) =>
      uri === redirectUri || withoutLoopbackPort(uri) === withoutLoopbackPort(redirectUri)
    )
}

const withoutLoopbackPort = (uri: string): string => {
  const url = new URL(uri)
  if (url.hostname === "127.0.0.1" || url.hostname === "[::1]") url.port = ""
  return url.href
}
