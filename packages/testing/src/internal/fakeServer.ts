import type { Answer } from "../Reply.ts"
import { json, refuse } from "./fakeAnswers.ts"
import { type Authorized, FakeAuthorizations } from "./fakeAuthorizations.ts"
import type { Behaviour, Endpoint, Incoming } from "./fakeBehaviour.ts"
import { FakeClients } from "./fakeClients.ts"
import { FakeDevices } from "./fakeDevices.ts"
import { FakeGrants, type Issued } from "./fakeGrants.ts"
import * as FakeQuirks from "./fakeQuirks.ts"

/** The honest half of the fake provider: one request in, one answer out, at once. */
export class FakeServer {
  readonly clients: FakeClients
  readonly devices: FakeDevices
  readonly grants: FakeGrants
  private readonly authorizations: FakeAuthorizations
  readonly issuer: string
  readonly resource: string
  /** Issuers that the resource names; this server alone unless told otherwise. */
  authorizationServers: ReadonlyArray<string>
  /** Whose tokens the resource accepts. */
  tokensOf: FakeGrants
  readonly behaviour: Behaviour

  constructor(issuer: string, resource: string, behaviour: Behaviour, now: () => number) {
    this.issuer = issuer
    this.resource = resource
    this.authorizationServers = [issuer]
    this.behaviour = behaviour
    this.clients = new FakeClients(behaviour)
    this.devices = new FakeDevices(issuer, behaviour, this.clients)
    this.authorizations = new FakeAuthorizations(issuer, behaviour, this.clients, now)
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
        return this.clients.register(request)
      case "pushedAuthorization":
        return this.authorizations.push(request)
      case "authorization":
        return this.authorizations.authorize(request)
      case "device":
        return this.devices.begin(request)
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

  private token(request: Incoming): Answer {
    const form = FakeQuirks.parametersOf(request, this.behaviour.quirks)
    if (form === undefined || FakeQuirks.refusesResource(form, this.behaviour.quirks)) return refuse("invalid_request")
    const client = this.clients.authenticate({ ...request, form })
    if (client === undefined) return refuse("invalid_client", 401)
    switch (form.get("grant_type")) {
      case "authorization_code": {
        const issued = this.authorizations.redeem(client, form, (authorized) => this.open(authorized))
        return issued === undefined ? refuse("invalid_grant") : this.issued(issued)
      }
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
      case "urn:ietf:params:oauth:grant-type:device_code": {
        const redeemed = this.devices.redeem(client, form)
        return typeof redeemed === "string" ? refuse(redeemed) : this.issued(this.open(redeemed))
      }
      default:
        return refuse("unsupported_grant_type")
    }
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

  /** RFC 7009 section 2.1: an unknown token is revoked already. */
  private revoke(request: Incoming): Answer {
    if (this.behaviour.quirks.includes("bearer_revocation")) return this.revokeByItself(request)
    const form = FakeQuirks.parametersOf(request, this.behaviour.quirks)
    if (form === undefined) return refuse("invalid_request")
    if (this.clients.authenticate({ ...request, form }) === undefined) return refuse("invalid_client", 401)
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
}
