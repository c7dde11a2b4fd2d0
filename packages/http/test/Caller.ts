import * as Canary from "@valetkey/testing/Canary"
import { Effect, Redacted } from "effect"
import { SignJWT } from "jose/jwt/sign"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import { send } from "./Http.ts"

export const jwt = {
  secret: Redacted.make(randomBytes(32).toString("base64url")),
  issuer: "https://issuer.example",
  audience: "valetkey"
}

export const allScopes =
  "flows:write connections:read connections:write connections:export tokens:read proxy admin operator"

/** Signs a token for tests; any claim can be replaced, `undefined` leaves it out. */
export const sign = (claims: Readonly<Record<string, unknown>> = {}, secret = jwt.secret): Promise<string> =>
  new SignJWT(JSON.parse(JSON.stringify({
    sub: "ada",
    tenant: "acme",
    scope: allScopes,
    iss: jwt.issuer,
    aud: jwt.audience,
    exp: Math.floor(Date.now() / 1000) + 600,
    ...claims
  }))).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(Redacted.value(secret)))

/** A caller with a token of these claims. */
export const caller = Effect.fnUntraced(function*(claims: Readonly<Record<string, unknown>> = {}) {
  const token = yield* Effect.promise(() => sign(claims))
  return {
    token,
    get: (path: string) => send("GET", path, { token }),
    post: (path: string, body?: unknown) => send("POST", path, { token, body }),
    put: (path: string, body?: unknown) => send("PUT", path, { token, body }),
    delete: (path: string) => send("DELETE", path, { token })
  }
})

/** A caller of the API. */
export type Caller = Effect.Success<ReturnType<typeof caller>>

/** A body that deposits credentials. */
export const deposit = (over: Readonly<Record<string, unknown>> = {}) => ({
  tokenEndpoint: "https://as.example/token",
  clientId: "client-2",
  refreshToken: Canary.makeText("refresh"),
  ...over
})

/** A private key that tokens can be bound to. */
export const proofKey = (): string => {
  const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
  Canary.register("proof_key", jwk.d!)
  return JSON.stringify(jwk)
}
