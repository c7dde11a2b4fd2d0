import { type Account, labelOf, NamedAccount } from "@valetkey/domain/Account"
import type { Credentials } from "@valetkey/domain/Credentials"
import { DateTime, Redacted, Schema } from "effect"
import { readToken } from "./internal/signedToken.ts"

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

/**
 * An ID token in the place of the access token, for the time that its issuer gave it, counted from our own clock. Where the
 * answer has none, an empty one whose time is over: what was redeemed for it stays.
 */
export const inPlaceOfAccess = (
  idToken: string | undefined,
  claims: { readonly exp: number; readonly iat: number } | undefined,
  issuedAt: DateTime.Utc
): Pick<Credentials, "accessToken" | "issuedAt" | "expiresAt"> =>
  idToken === undefined || claims === undefined
    ? {
      accessToken: Redacted.make(""),
      issuedAt: DateTime.subtract(issuedAt, { seconds: 1 }),
      expiresAt: issuedAt
    }
    : {
      accessToken: Redacted.make(idToken),
      issuedAt,
      expiresAt: DateTime.add(issuedAt, { seconds: Math.max(0, Math.floor(claims.exp - claims.iat)) })
    }

/** Whether an account may be called so. */
export const isAccountId: (sub: string) => boolean = Schema.is(NamedAccount.fields.id)

const decode = Schema.decodeUnknownOption(Schema.Struct({ iss: Schema.NonEmptyString, sub: Schema.NonEmptyString }))

/**
 * Whom the ID token of a refresh names, unchecked but for its shape: enough to notice another account than before. A
 * provider may send the first token again, whose time is over; one that cannot be read names nobody.
 *
 * @see OpenID Connect Core 1.0 §12.2
 */
export const claimedAccount = (idToken: unknown): Account | undefined => {
  const claims = decode(readToken(idToken)?.claims)
  return claims._tag === "None" ? undefined : { issuer: claims.value.iss, id: claims.value.sub }
}
