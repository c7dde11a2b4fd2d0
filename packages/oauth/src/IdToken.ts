import { type Account, labelOf, NamedAccount } from "@valetkey/domain/Account"
import { Schema } from "effect"

/**
 * What an ID token may be signed with: anything that has a name and is not `none`.
 *
 * The signature itself is not checked: the token comes from the token endpoint, over the connection that the access token
 * comes over, and the identity of that endpoint stands for the signature (OpenID Connect Core 1.0 §3.1.3.7, step 6). The
 * algorithm therefore decides nothing here but whether somebody claims to have signed.
 */
export const signingAlgorithms: ReadonlyArray<string> = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "ES256K",
  "EdDSA",
  "Ed25519",
  "ML-DSA-44",
  "ML-DSA-65",
  "ML-DSA-87",
  "HS256",
  "HS384",
  "HS512"
]

/** Claims of an ID token that name its account. */
export interface Claims {
  readonly iss: string
  readonly sub: string
  readonly [claim: string]: unknown
}

/** The account of checked claims. The first name that a person can read is its label; none of them identifies it. */
export const accountOf = ({ email, iss, name, preferred_username, sub }: Claims): Account => {
  const label = [preferred_username, email, name].map(labelOf).find((text) => text !== undefined)
  return { issuer: iss, id: sub, ...(label === undefined ? {} : { label }) }
}

/** Whether an account may be called so. */
export const isAccountId: (sub: string) => boolean = Schema.is(NamedAccount.fields.id)

const Claimed = Schema.fromJsonString(Schema.Struct({ iss: Schema.NonEmptyString, sub: Schema.NonEmptyString }))
const decode = Schema.decodeUnknownOption(Claimed)

/**
 * Whom the ID token of a refresh names, unchecked but for its shape: enough to notice another account than before. A
 * provider may send the first token again, whose time is over; one that cannot be read names nobody.
 *
 * @see OpenID Connect Core 1.0 §12.2
 */
export const claimedAccount = (idToken: unknown): Account | undefined => {
  if (typeof idToken !== "string" || idToken.length > maxLength) return undefined
  const [, payload, , rest] = idToken.split(".")
  if (payload === undefined || rest !== undefined) return undefined
  const claims = decode(Buffer.from(payload, "base64url").toString())
  return claims._tag === "None" ? undefined : { issuer: claims.value.iss, id: claims.value.sub }
}

/** What is longer than this is not read; no honest ID token comes near. */
const maxLength = 65_536
