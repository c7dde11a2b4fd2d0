import { Option, Redacted, Schema } from "effect"

const Coordinate = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,1024}$/, { expected: "base64url" }))
const Name = Schema.String.check(Schema.isPattern(/^[\x20-\x7E]{1,255}$/, { expected: "printable ASCII" }))
const common = { kid: Schema.optionalKey(Name), alg: Schema.optionalKey(Name) }

/** Schema for the public half of a key that a client signs with (RFC 7517, RFC 7518 §6, RFC 8037). */
export const PublicKey = Schema.Union([
  Schema.Struct({
    kty: Schema.Literal("EC"),
    crv: Schema.Literals(["P-256", "P-384", "P-521"]),
    x: Coordinate,
    y: Coordinate,
    ...common
  }),
  Schema.Struct({ kty: Schema.Literal("OKP"), crv: Schema.Literal("Ed25519"), x: Coordinate, ...common }),
  Schema.Struct({ kty: Schema.Literal("RSA"), n: Coordinate, e: Coordinate, ...common })
])
export type PublicKey = typeof PublicKey.Type

/** What makes a key private, beside the public half. */
const Private = Schema.Struct({ d: Coordinate })

const parsed = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))
const isPrivate = Schema.is(Private)
const decodePublic = Schema.decodeUnknownOption(PublicKey)

/** The least size of a modulus in base64url: 2048 bits (RFC 7518 §3.3). */
const leastModulus = 342

/**
 * The public half of a private key that is written as a JWK; undefined for text that is no such key. Of the private members
 * nothing is in it.
 */
export const publicKeyOf = (key: Redacted.Redacted): PublicKey | undefined => {
  const jwk = Option.getOrUndefined(parsed(Redacted.value(key)))
  if (!isPrivate(jwk)) return undefined
  const found = Option.getOrUndefined(decodePublic(jwk))
  return found?.kty === "RSA" && found.n.length < leastModulus ? undefined : found
}

/** Whether what a key says of its algorithm is one that a client can sign with by it (RFC 7518 §3.1, RFC 8037 §3.1); it need say nothing. */
export const namesFitAlgorithm = (key: PublicKey): boolean =>
  key.alg === undefined || algorithms[key.kty === "RSA" ? key.kty : key.crv].includes(key.alg)

const algorithms: { readonly [Kind in "Ed25519" | "P-256" | "P-384" | "P-521" | "RSA"]: ReadonlyArray<string> } = {
  Ed25519: ["EdDSA", "Ed25519"],
  "P-256": ["ES256"],
  "P-384": ["ES384"],
  "P-521": ["ES512"],
  RSA: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
}
