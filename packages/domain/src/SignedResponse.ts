import { Option, Schema } from "effect"
import { HttpUrl } from "./Server.ts"

/**
 * What an authorization response may be signed with: anything that only the authorization server can have signed. `none` is
 * no signature, and a shared secret would be the client's as well (JARM §2.4 step 6, RFC 8725 §3.1).
 */
export const signingAlgorithms = [
  "ES256",
  "PS256",
  "EdDSA",
  "Ed25519",
  "ES384",
  "ES512",
  "PS384",
  "PS512",
  "RS256",
  "RS384",
  "RS512"
] as const

/** Schema for one of them. */
export const SigningAlgorithm = Schema.Literals(signingAlgorithms)
export type SigningAlgorithm = typeof SigningAlgorithm.Type

/** Schema for how an authorization server offers its responses as signed tokens (JARM §2.3, §4). */
export const SignedResponses = Schema.Struct({
  /** What is asked for: both mean a token in the query of a response with a code. */
  mode: Schema.Literals(["query.jwt", "jwt"]),
  /** Whether no plain response comes back in a query. */
  alone: Schema.Boolean,
  /** Where its keys are; absent where they cannot be had. */
  jwksUri: Schema.optionalKey(HttpUrl),
  /** Those of its algorithms that can be verified here. */
  algorithms: Schema.Array(SigningAlgorithm)
})
export type SignedResponses = typeof SignedResponses.Type

/** Schema for what a start promised itself of a response: that it is signed, with one of these, by a key from there. */
export const SignedResponseTerms = Schema.Struct({
  jwksUri: HttpUrl,
  algorithms: Schema.Array(SigningAlgorithm)
})
export type SignedResponseTerms = typeof SignedResponseTerms.Type

/** What a start may go by; undefined where what is offered cannot be verified here. */
export const termsOf = (offered: SignedResponses | undefined): SignedResponseTerms | undefined =>
  offered?.jwksUri === undefined || offered.algorithms.length === 0
    ? undefined
    : { jwksUri: offered.jwksUri, algorithms: offered.algorithms }

/** The longest token that is read: a code at its limit, its claims and its signature in base64url. */
export const maxToken = 24_576

const Payload = Schema.StringFromBase64Url.pipe(
  Schema.decodeTo(Schema.fromJsonString(Schema.Struct({ state: Schema.NonEmptyString })))
)

const decode = Schema.decodeUnknownOption(Payload)

/**
 * The `state` that a signed token claims, to find its flow by; nothing else of it is looked at before it is verified.
 * Undefined for what is no JWT in its compact form (RFC 7519 §3), and for an encrypted one, which has five parts.
 */
export const claimedState = (token: string): string | undefined => {
  if (token.length > maxToken) return undefined
  const parts = token.split(".")
  return parts.length === 3 ? Option.getOrUndefined(decode(parts[1]))?.state : undefined
}
