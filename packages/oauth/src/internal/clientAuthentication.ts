import type { TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { type PublicKey, publicKeyOf } from "@valetkey/domain/SigningKey"
import { Effect, Redacted } from "effect"
import { type ClientAuth, ClientSecretPost, None, PrivateKeyJwt } from "oauth4webapi"

/**
 * How a client proves itself (RFC 6749 §2.3, RFC 7523 §2.2); undefined when its method needs a secret and there is none
 * that can be used. A key signs for the issuer identifier of the authorization server alone, whatever endpoints its metadata
 * names: an assertion is worth nothing anywhere else (draft-ietf-oauth-rfc7523bis §4).
 */
export const clientAuthentication = (
  method: TokenEndpointAuthMethod,
  clientSecret: Redacted.Redacted | undefined
): Effect.Effect<ClientAuth | undefined> => {
  if (method === "none") return Effect.succeed(None())
  if (clientSecret === undefined || Redacted.value(clientSecret) === "") return Effect.undefined
  switch (method) {
    case "client_secret_basic":
      return Effect.succeed(basic(clientSecret))
    case "client_secret_post":
      return Effect.succeed(ClientSecretPost(Redacted.value(clientSecret)))
    case "private_key_jwt":
      return signed(clientSecret)
  }
}

/**
 * HTTP Basic with id and secret form-encoded first, as the form encoding of today writes them (RFC 6749 §2.3.1, WHATWG
 * URL §5.2): `-`, `.`, `_` and `*` stay as they are, and so a server that forgets to decode reads most ids right too.
 */
const basic = (clientSecret: Redacted.Redacted): ClientAuth => (_as, client, _body, headers) => {
  const credentials = [client.client_id, Redacted.value(clientSecret)].map(formEncoded).join(":")
  headers.set("authorization", `Basic ${Buffer.from(credentials).toString("base64")}`)
}

const formEncoded = (text: string): string => new URLSearchParams([["", text]]).toString().slice(1)

/** An assertion that lives a minute and has a `jti` of its own, signed with the key of the client. */
const signed = (privateKey: Redacted.Redacted): Effect.Effect<ClientAuth | undefined> => {
  const publicKey = publicKeyOf(privateKey)
  if (publicKey === undefined) return Effect.undefined
  return Effect.tryPromise(async () => {
    // What a key says of its own use is for others to read.
    const { ext: _, key_ops: __, use: ___, ...jwk } = JSON.parse(Redacted.value(privateKey)) as JsonWebKey
    const key = await crypto.subtle.importKey("jwk", jwk, algorithmOf(publicKey), false, ["sign"])
    return PrivateKeyJwt(publicKey.kid === undefined ? key : { key, kid: publicKey.kid })
    // What the platform throws may hold the key.
  }).pipe(Effect.orElseSucceed(() => undefined))
}

const algorithmOf = (key: PublicKey): EcKeyImportParams | RsaHashedImportParams | Algorithm => {
  switch (key.kty) {
    case "EC":
      return { name: "ECDSA", namedCurve: key.crv }
    case "OKP":
      return { name: key.crv }
    case "RSA":
      return {
        name: key.alg?.startsWith("PS") === true ? "RSA-PSS" : "RSASSA-PKCS1-v1_5",
        hash: `SHA-${/^[PR]S(256|384|512)$/.exec(key.alg ?? "")?.[1] ?? "256"}`
      }
  }
}
