import { DateTime, Duration, Redacted } from "effect"
import type { Account } from "./Account.ts"

/** What a token endpoint issued, decoded: the tolerant decoder's result, before sealing. */
export interface Credentials {
  readonly accessToken: Redacted.Redacted
  readonly refreshToken?: Redacted.Redacted | undefined
  /** RFC 6749 §7.1; `Bearer` when the server left it out. */
  readonly tokenType: string
  /** Granted scopes, absent when the server said nothing (RFC 6749 §5.1: then they equal the requested ones). */
  readonly scopes?: ReadonlyArray<string> | undefined
  readonly issuedAt: DateTime.Utc
  readonly expiresAt?: DateTime.Utc | undefined
  /** When the refresh token ends unless it is redeemed before, where the server says so. */
  readonly refreshExpiresAt?: DateTime.Utc | undefined
  /**
   * The private key that they are bound to, as a JWK, and that stays with them whatever their type (RFC 9449). A token of
   * the type `DPoP` is worth nothing without its proofs.
   */
  readonly proofKey?: Redacted.Redacted | undefined
  /** Whose they are, when the answer's ID token says so (OpenID Connect Core 1.0 §3.1.3.3, §12.2). */
  readonly account?: Account | undefined
}

/** When a token ended that nobody obtained yet: so long ago that no clock is behind it. */
export const notYet = DateTime.makeUnsafe(0)

/** Splits a scope string on white space; an empty list is `undefined` (RFC 6749 §3.3). */
export const parseScopes = (text: string): ReadonlyArray<string> | undefined => {
  const scopes = text.split(/\s+/).filter((scope) => scope !== "")
  return scopes.length === 0 ? undefined : scopes
}

/** Whether `granted` covers every scope of `wanted`. Unknown grants cover nothing but an empty wish. */
export const coversScopes = (granted: ReadonlyArray<string> | undefined, wanted: ReadonlyArray<string>): boolean =>
  wanted.every((scope) => granted?.includes(scope) === true)

/**
 * Merges the answer of a refresh into what was there: an omitted refresh token or scope keeps the old one
 * (RFC 6749 §6), an omitted expiry repeats the previous lifetime, if there was one; that of a refresh token which stays the
 * same stays as it was, until it is outlived.
 */
export const mergeRefreshed = (previous: Omit<Credentials, "accessToken">, answer: Credentials): Credentials => ({
  ...answer,
  refreshToken: answer.refreshToken ?? previous.refreshToken,
  scopes: answer.scopes ?? previous.scopes,
  expiresAt: answer.expiresAt ?? repeated(previous, previous.expiresAt, answer),
  refreshExpiresAt: answer.refreshExpiresAt ?? (isSameToken(previous, answer)
    ? outliving(previous.refreshExpiresAt, answer.issuedAt)
    : repeated(previous, previous.refreshExpiresAt, answer))
})

type Times = Pick<Credentials, "issuedAt">

/** What was over when it was issued, such as a token that nobody obtained yet, says nothing of how long the next one lives. */
const repeated = (previous: Times, end: DateTime.Utc | undefined, answer: Times): DateTime.Utc | undefined =>
  end !== undefined && DateTime.isGreaterThan(end, previous.issuedAt)
    ? DateTime.addDuration(answer.issuedAt, DateTime.distance(previous.issuedAt, end))
    : undefined

const isSameToken = (previous: Pick<Credentials, "refreshToken">, answer: Pick<Credentials, "refreshToken">) =>
  answer.refreshToken === undefined || previous.refreshToken !== undefined &&
    Redacted.value(answer.refreshToken) === Redacted.value(previous.refreshToken)

const outliving = (end: DateTime.Utc | undefined, now: DateTime.Utc): DateTime.Utc | undefined =>
  end !== undefined && DateTime.isGreaterThan(end, now) ? end : undefined

const stillbornPace = Duration.seconds(30)

/**
 * Whether a token is good for the time that the caller asks for. The demand is capped at half of the token's lifetime,
 * so that short-lived tokens are not refreshed on every call. A token without expiry is good until it is rejected; one that
 * was over when it was issued is handed out for half a minute all the same, or every call would refresh.
 */
export const isFresh = (
  token: { readonly issuedAt: DateTime.Utc; readonly expiresAt?: DateTime.Utc | undefined },
  minValidity: Duration.Duration,
  now: DateTime.Utc
): boolean => {
  if (token.expiresAt === undefined) return true
  if (DateTime.Equivalence(token.expiresAt, notYet)) return false
  const left = DateTime.toEpochMillis(token.expiresAt) - DateTime.toEpochMillis(now)
  const lifetime = DateTime.toEpochMillis(token.expiresAt) - DateTime.toEpochMillis(token.issuedAt)
  if (lifetime <= 0) return left > lifetime - Duration.toMillis(stillbornPace)
  return left > 0 && left >= Math.min(Duration.toMillis(minValidity), lifetime / 2)
}
