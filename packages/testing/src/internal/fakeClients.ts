import * as Canary from "../Canary.ts"
import type { Answer } from "../Reply.ts"
import { json, refuse } from "./fakeAnswers.ts"
import type { Behaviour, Incoming } from "./fakeBehaviour.ts"

/** A client of the fake provider; without redirect URIs any is accepted. */
export interface FakeClient {
  readonly clientId: string
  /** Current secret and, during an overlap, older ones; a public client has none. */
  readonly secrets: ReadonlyArray<string>
  readonly redirectUris?: ReadonlyArray<string>
}

/** The clients of the fake provider, and how they register and prove who they are. */
export class FakeClients {
  readonly byId = new Map<string, FakeClient>()
  private readonly behaviour: Behaviour

  constructor(behaviour: Behaviour) {
    this.behaviour = behaviour
  }

  /** RFC 7591 section 3. */
  register(request: Incoming): Answer {
    if (!this.behaviour.registration) return refuse("not_found", 404)
    const metadata = parseObject(request.body)
    const redirectUris = metadata?.["redirect_uris"]
    if (metadata === undefined || !Array.isArray(redirectUris)) return refuse("invalid_client_metadata")
    const clientId = `client-${this.byId.size + 1}`
    const method = metadata["token_endpoint_auth_method"] ?? "client_secret_basic"
    const secret = method === "none" ? undefined : Canary.makeText("client_secret")
    this.byId.set(clientId, {
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

  find(clientId: string): FakeClient | undefined {
    const document = this.behaviour.clientIdDocuments && clientId.startsWith("https://")
    return this.byId.get(clientId) ?? (document ? { clientId, secrets: [] } : undefined)
  }

  /** RFC 6749 section 2.3.1. */
  authenticate({ form, headers }: Incoming): FakeClient | undefined {
    const [scheme, encoded = ""] = String(headers["authorization"] ?? "").split(" ")
    const basic = scheme?.toLowerCase() === "basic"
      ? Buffer.from(encoded, "base64").toString().split(":").map((part) =>
        decodeURIComponent(part.replaceAll("+", " "))
      )
      : undefined
    const client = this.find(basic?.[0] ?? form.get("client_id") ?? "")
    if (client === undefined || client.secrets.length === 0) return client
    return client.secrets.includes(basic?.[1] ?? form.get("client_secret") ?? "") ? client : undefined
  }
}

const parseObject = (body: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** RFC 8252 section 7.3: the port of a loopback redirect URI is free. */
export const allows = (client: FakeClient, redirectUri: string): boolean => {
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
