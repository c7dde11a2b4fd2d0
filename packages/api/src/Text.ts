import { HttpUrl, type TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { namesFitAlgorithm, publicKeyOf } from "@valetkey/domain/SigningKey"
import { type Redacted, Schema } from "effect"

/** Schema for a name that a person reads: no control characters, no lone surrogates. */
export const DisplayName = Schema.String.check(
  Schema.isBetweenLength(1, 255),
  Schema.isPattern(/^[^\p{Cc}\p{Cs}]*$/u, { expected: "text without control characters" })
)

/** Schema for an absolute URL as it travels: printable ASCII (RFC 3986 §2). */
export const WireUrl = HttpUrl.check(Schema.isPattern(/^[\x21-\x7E]*$/, { expected: "a URL in printable ASCII" }))

/** Schema for a client identifier (RFC 6749 §A.1). */
export const ClientId = Schema.String.check(
  Schema.isBetweenLength(1, 2048),
  Schema.isPattern(/^[\x20-\x7E]*$/, { expected: "printable ASCII" })
)

/** Schema for a token or a client secret that a caller sends (RFC 6749 §A.2, §A.12, §A.17). The size of a request bounds it. */
export const WireSecret = Schema.RedactedFromValue(
  Schema.String.check(Schema.isPattern(/^[\x20-\x7E]+$/, { expected: "a non-empty string of printable ASCII" }))
)

/** What is wrong with the secret of a client that proves itself so; undefined when nothing is. */
export const misfit = (
  authMethod: TokenEndpointAuthMethod,
  clientSecret: Redacted.Redacted | undefined
): { readonly path: ReadonlyArray<string>; readonly issue: string } | undefined => {
  if ((authMethod === "none") !== (clientSecret === undefined)) {
    return { path: ["clientSecret"], issue: "expected with every authMethod but none, and only with these" }
  }
  if (authMethod !== "private_key_jwt") return undefined
  const publicKey = publicKeyOf(clientSecret!)
  if (publicKey === undefined) {
    return {
      path: ["clientSecret"],
      issue: "expected a private key as a JWK: EC, Ed25519, or RSA of at least 2048 bits"
    }
  }
  return namesFitAlgorithm(publicKey) ? undefined : {
    path: ["clientSecret"],
    issue: "expected `alg` of the JWK to be a signature of its kind of key, such as ES256 with P-256, or to be left out"
  }
}

/** Filter for what names a tenant or a subject in a credential: printable ASCII (OpenID Connect Core §2). */
export const Identity = Schema.isPattern(/^(?!__proto__$)[\x21-\x7E]{1,255}$/, { expected: "an identifier" })

/** Schema for an instant: ISO 8601 with a zone. */
export const Instant = Schema.DateTimeUtcFromString

/** Schema for the size of a page. */
export const PageLimit = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100 }))
