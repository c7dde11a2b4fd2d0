import { createHash } from "node:crypto"
import * as Canary from "../Canary.ts"
import type { Answer } from "../Reply.ts"
import { json, refuse } from "./fakeAnswers.ts"
import type { Behaviour, Incoming } from "./fakeBehaviour.ts"
import { allows, type FakeClient, type FakeClients } from "./fakeClients.ts"
import type { Issued } from "./fakeGrants.ts"
import * as FakeQuirks from "./fakeQuirks.ts"

/** What a person consented to, until its code is redeemed. */
export interface Authorized {
  readonly clientId: string
  readonly redirectUri: string
  readonly challenge: string | undefined
  readonly scopes: ReadonlyArray<string>
  readonly resource: string | undefined
  readonly subject: string
  readonly expiresAt: number
  issued?: Issued
}

/** The authorization endpoint, where the person answers at once, and the codes that it gives out. */
export class FakeAuthorizations {
  private readonly codes = new Map<string, Authorized>()
  private readonly pushed = new Map<string, URLSearchParams>()
  private readonly issuer: string
  private readonly behaviour: Behaviour
  private readonly clients: FakeClients
  private readonly now: () => number

  constructor(issuer: string, behaviour: Behaviour, clients: FakeClients, now: () => number) {
    this.issuer = issuer
    this.behaviour = behaviour
    this.clients = clients
    this.now = now
  }

  /** RFC 9126 section 2. */
  push(request: Incoming): Answer {
    const client = this.clients.authenticate(request)
    if (client === undefined) return refuse("invalid_client", 401)
    const uri = `urn:ietf:params:oauth:request_uri:${Canary.makeText("request_uri")}`
    this.pushed.set(uri, request.form)
    return json(201, { request_uri: uri, expires_in: 60 })
  }

  /** RFC 6749 section 4.1.1. */
  authorize(request: Incoming): Answer {
    const direct = request.url.searchParams
    const parameters = this.pushed.get(direct.get("request_uri") ?? "") ?? direct
    const client = this.clients.find(direct.get("client_id") ?? parameters.get("client_id") ?? "")
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
    if (FakeQuirks.refusesResource(parameters, this.behaviour.quirks)) return back({ error: "invalid_target" })
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

  /** Redeems a code; `undefined` is `invalid_grant`. */
  redeem(
    client: FakeClient,
    form: URLSearchParams,
    open: (authorized: Authorized) => Issued
  ): Issued | undefined {
    const row = this.codes.get(form.get("code") ?? "")
    if (row === undefined || row.clientId !== client.clientId) return undefined
    if (row.issued !== undefined) {
      // RFC 6749 section 4.1.2: a code that comes back takes its tokens with it.
      row.issued.family.revoked = true
      return undefined
    }
    const verifier = form.get("code_verifier") ?? ""
    const challenge = createHash("sha256").update(verifier).digest("base64url")
    const proven = row.challenge === undefined ? verifier === "" : row.challenge === challenge
    const matches = row.redirectUri === form.get("redirect_uri") && row.expiresAt > this.now()
    if (!proven || !matches) return undefined
    return row.issued = open(row)
  }
}
