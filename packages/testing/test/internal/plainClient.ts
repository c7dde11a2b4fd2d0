import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { createHash, randomBytes } from "node:crypto"

export const redirectUri = "http://127.0.0.1/callback"

export interface Tokens {
  readonly access_token: string
  readonly refresh_token: string
  readonly error?: string
}

export const postForm = (url: string, form: Record<string, string>) =>
  Effect.promise(async (signal) => {
    const response = await fetch(url, { method: "POST", body: new URLSearchParams(form), signal })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  })

export const getJson = (url: string) =>
  Effect.promise(async (signal) => (await fetch(url, { signal })).json() as Promise<Record<string, string>>)

export const pkce = () => {
  const verifier = randomBytes(32).toString("base64url")
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") }
}

export const authorizationUrl = (
  endpoint: string,
  challenge: string,
  options: { readonly clientId?: string; readonly resource?: string; readonly redirectUri?: string } = {}
) => {
  const url = new URL(endpoint)
  url.search = new URLSearchParams({
    response_type: "code",
    client_id: options.clientId ?? "native",
    redirect_uri: options.redirectUri ?? redirectUri,
    scope: "openid offline_access mcp:read",
    state: "state-of-the-test",
    code_challenge: challenge,
    code_challenge_method: "S256",
    ...(options.resource === undefined ? {} : { resource: options.resource })
  }).toString()
  return url
}

/** Obtains tokens by code and PKCE from any authorization server, playing the person too. */
export const obtain = (
  issuer: string,
  options: { readonly clientId?: string; readonly resource?: string } = {}
) =>
  Effect.gen(function*() {
    const metadata = yield* getJson(`${issuer}/.well-known/oauth-authorization-server`)
    const { challenge, verifier } = pkce()
    const url = authorizationUrl(metadata["authorization_endpoint"] ?? "", challenge, options)
    const callback = yield* UserAgent.make().callbackUrl(url, redirectUri)
    const code = callback.searchParams.get("code") ?? ""
    const answer = yield* postForm(metadata["token_endpoint"] ?? "", {
      grant_type: "authorization_code",
      client_id: options.clientId ?? "native",
      redirect_uri: redirectUri,
      code,
      code_verifier: verifier,
      ...(options.resource === undefined ? {} : { resource: options.resource })
    })
    return { metadata, callback, code, verifier, answer, tokens: answer.body as unknown as Tokens }
  })

export const refresh = (metadata: Record<string, string>, refreshToken: string, clientId = "native") =>
  postForm(metadata["token_endpoint"] ?? "", {
    grant_type: "refresh_token",
    client_id: clientId,
    refresh_token: refreshToken
  })
