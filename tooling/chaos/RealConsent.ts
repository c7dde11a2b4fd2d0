import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { createHash, randomBytes } from "node:crypto"

const redirectUri = "http://127.0.0.1/callback"

/** Consents as a person at a provider with the public client `native`, and redeems the code. */
export const consentAt = async (issuer: string): Promise<readonly [accessToken: string, refreshToken: string]> => {
  const verifier = randomBytes(32).toString("base64url")
  const authorization = new URL("/auth", issuer)
  authorization.search = String(
    new URLSearchParams({
      client_id: "native",
      response_type: "code",
      redirect_uri: redirectUri,
      scope: "openid offline_access",
      prompt: "consent",
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256"
    })
  )
  const callback = await Effect.runPromise(UserAgent.make().callbackUrl(authorization, redirectUri))
  const response = await fetch(new URL("/token", issuer), {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: "native",
      code: callback.searchParams.get("code") ?? "",
      redirect_uri: redirectUri,
      code_verifier: verifier
    })
  })
  const answer = await response.json() as { readonly access_token: string; readonly refresh_token: string }
  return [answer.access_token, answer.refresh_token]
}
