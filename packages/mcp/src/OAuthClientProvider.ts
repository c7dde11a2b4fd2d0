import { DateTime, Redacted, Schema } from "effect"
import { type AskPerson, needsPerson, obtain } from "./Consent.ts"
import { handing } from "./internal/handing.ts"
import type { Run } from "./McpFetch.ts"

/** Error of a step of OAuth that the SDK would take itself: Valetkey takes it, and keeps what comes of it. */
export class FlowNotOurs extends Schema.TaggedError<FlowNotOurs>("valetkey/mcp/FlowNotOurs")("FlowNotOurs", {
  method: Schema.String
}) {
  readonly code = "flow_not_ours"
  override get message() {
    return `${this.method} has no meaning here: Valetkey runs the flow. Make the request again in place of finishing one.`
  }
}

/** The members of the SDK's `OAuthClientProvider` that Valetkey can answer for, in versions 1 and 2. */
export interface OAuthClientProvider {
  readonly redirectUrl: string
  readonly clientMetadata: { readonly client_name: string; redirect_uris: Array<string> }
  clientInformation(): { client_id: string; issuer: string }
  discoveryState(): {
    authorizationServerUrl: string
    authorizationServerMetadata: {
      issuer: string
      authorization_endpoint: string
      token_endpoint: string
      response_types_supported: Array<string>
      code_challenge_methods_supported: Array<string>
    }
    resourceMetadata: { resource: string }
  }
  validateResourceURL(): Promise<undefined>
  tokens(): Promise<
    | { access_token: string; token_type: string; expires_in?: number; scope?: string; issuer: string }
    | undefined
  >
  redirectToAuthorization(authorizationUrl: URL): Promise<void>
  saveCodeVerifier(): void
  saveTokens(): never
  codeVerifier(): never
}

/** The authorization server that the SDK is told of: by RFC 6761 no name under `invalid` ever leads to anybody. */
const nobody = "https://valetkey.invalid/"

/**
 * Makes the `OAuthClientProvider` of the official MCP SDK, for hosts that take nothing else. The SDK is given tokens without
 * refresh tokens, finds no server to speak OAuth with, and redirects to Valetkey, which replaces a refused token or leads
 * the person to the consent and waits for it. The SDK cannot be told that all is well then: it rejects the request with
 * `UnauthorizedError`, and the host makes it again. It attaches the token to whatever URL its transport was made with, which
 * must be that of the server's resource. `McpFetch` has neither gap.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization
 */
export const make = (
  run: Run,
  { ask, server }: { readonly server: string; readonly ask: AskPerson }
): OAuthClientProvider => {
  const { current, refused } = handing(run, server)
  let granted: ReadonlyArray<string> | undefined
  let redirecting: Promise<void> | undefined

  const redirect = async (wanted: ReadonlyArray<string>): Promise<void> => {
    const missing = granted === undefined ? [] : wanted.filter((scope) => granted?.includes(scope) === false)
    if (missing.length > 0) return run(obtain(server, { scopes: [...granted ?? [], ...missing] }, ask))
    try {
      await current(refused())
    } catch (error) {
      if (!needsPerson(error)) throw error
      await run(obtain(server, { scopes: wanted.length === 0 ? undefined : wanted }, ask))
    }
  }

  return {
    // Without one the SDK would ask for a token with no person in it.
    redirectUrl: new URL("/callback", nobody).href,
    clientMetadata: { client_name: "Valetkey", redirect_uris: [new URL("/callback", nobody).href] },
    // Without one the SDK would register.
    clientInformation: () => ({ client_id: "valetkey", issuer: nobody }),
    // Without it the SDK would ask the resource for its authorization server.
    discoveryState: () => ({
      authorizationServerUrl: nobody,
      authorizationServerMetadata: {
        issuer: nobody,
        authorization_endpoint: new URL("/authorize", nobody).href,
        token_endpoint: new URL("/token", nobody).href,
        response_types_supported: ["code"],
        code_challenge_methods_supported: ["S256"]
      },
      resourceMetadata: { resource: nobody }
    }),
    // There is no metadata of the resource to compare its URL with.
    validateResourceURL: () => Promise.resolve(undefined),
    tokens: async () => {
      try {
        const { accessToken, expiresAt, scopes, tokenType } = await current()
        granted = scopes
        return {
          access_token: Redacted.value(accessToken),
          token_type: tokenType,
          ...(expiresAt === undefined
            ? {}
            : { expires_in: Math.floor((DateTime.toEpochMillis(expiresAt) - Date.now()) / 1000) }),
          ...(scopes === undefined ? {} : { scope: scopes.join(" ") }),
          issuer: nobody
        }
      } catch (error) {
        if (needsPerson(error)) return undefined
        throw error
      }
    },
    redirectToAuthorization: ({ searchParams }) =>
      // Requests that were refused together wait for one replacement, or for one person.
      redirecting ??= redirect((searchParams.get("scope") ?? "").split(" ").filter((scope) => scope !== "")).finally(
        () => redirecting = undefined
      ),
    // The verifier of a URL that nobody opens.
    saveCodeVerifier: () => {},
    saveTokens: () => {
      throw new FlowNotOurs({ method: "saveTokens" })
    },
    codeVerifier: () => {
      throw new FlowNotOurs({ method: "finishAuth" })
    }
  }
}
