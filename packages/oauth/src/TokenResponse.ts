import { type Credentials, notYet } from "@valetkey/domain/Credentials"
import type { TokenDialect } from "@valetkey/domain/Server"
import { DateTime, Duration, Redacted } from "effect"
import type { TokenEndpointResponse } from "oauth4webapi"
import { type Members, parseObject } from "./internal/jsonObject.ts"

/** A token endpoint's answer, read: what it says, whatever its content type claims (RFC 6749 §5). */
export interface TokenAnswer {
  readonly status: number
  /** The members of a JSON object or of a form; undefined when the body is neither. */
  readonly members: Members | undefined
  readonly retryAfter: string | undefined
  /** The server's own time, RFC 9110 §6.6.1. */
  readonly date: string | undefined
}

/** The longest lifetime that is believed; what is beyond it, and overflowing numbers, end here. */
export const maxLifetime: Duration.Duration = Duration.days(400)

/** The longest lifetime of a refresh token that is believed. */
const maxRefreshLifetime = Duration.days(3650)

/** Reads a response once. Bodies that are forms (GitHub's default) or JSON of another content type count. */
export const read = async (response: Response): Promise<TokenAnswer> => ({
  status: response.status,
  members: members(response.headers.get("content-type") ?? "", await response.text()),
  retryAfter: response.headers.get("retry-after") ?? undefined,
  date: response.headers.get("date") ?? undefined
})

/**
 * The answer as the standard has it, of a provider that gives the tokens of the person one level down or calls their type by
 * another word. What stands beside the tokens, such as those of a bot, is dropped. A refresh answers without the level at
 * Slack, so without one the members are taken where they are.
 */
export const unwrap = (answer: TokenAnswer, dialect: TokenDialect | undefined): TokenAnswer => {
  const { members } = answer
  if (members === undefined || dialect === undefined) return answer
  const nested = dialect.tokensIn === undefined || !Object.hasOwn(members, dialect.tokensIn)
    ? undefined
    : members[dialect.tokensIn]
  const { error, id_token, ok } = members
  return {
    ...answer,
    members: {
      ...(typeof nested === "object" && nested !== null && !Array.isArray(nested)
        ? { error, id_token, ok, ...nested }
        : members),
      ...(dialect.tokenType === undefined ? {} : { token_type: dialect.tokenType })
    }
  }
}

/** The `error` code of an answer: an answer that has one is a failure whatever its status. */
export const errorOf = ({ members }: TokenAnswer): string | undefined => {
  const error = members?.["error"]
  if (typeof error === "string" && error !== "") return error
  if (error !== undefined && error !== null && error !== "" && error !== false) return "unknown"
  return members?.["ok"] === false ? "unknown" : undefined
}

/**
 * The same answer as a strict one: every member well-formed or left out, ready for oauth4webapi to check what remains.
 *
 * Undefined when the access token is missing or of another type than Bearer, or DPoP where a proof was sent, or when a token
 * holds what cannot be sent in a header. An ID token is left out unless it was asked for: nothing here would believe it.
 */
export const normalize = (
  answer: TokenAnswer,
  asked: { readonly idToken: boolean; readonly bound?: boolean } = { idToken: false }
): Response | undefined => {
  const { access_token, expires_in, refresh_token, scope, token_type } = answer.members ?? {}
  if (!isAccessToken(access_token)) return undefined
  const tokenType = usable(token_type, asked.bound === true)
  if (tokenType === undefined) return undefined
  const refreshToken = refresh_token === null || refresh_token === "" ? undefined : refresh_token
  if (refreshToken !== undefined && !isRefreshToken(refreshToken)) return undefined
  return Response.json({
    access_token,
    token_type: tokenType,
    expires_in: lifetime(expires_in),
    refresh_token: refreshToken,
    refresh_token_expires_in: refreshLifetime(answer),
    scope: scopes(scope)?.join(" "),
    ...(asked.idToken && hasIdToken(answer) ? { id_token: answer.members?.["id_token"] } : {})
  })
}

/** Whether an answer has an ID token, of whatever kind. */
export const hasIdToken = ({ members }: TokenAnswer): boolean =>
  members?.["id_token"] !== undefined && members["id_token"] !== null && members["id_token"] !== ""

/**
 * What can be saved of an answer without a usable access token: the refresh token, when it is another one than `redeemed`,
 * which may be void by now. The access token is empty: nobody obtained it yet.
 */
export const salvage = (
  answer: TokenAnswer,
  redeemed: Redacted.Redacted,
  issuedAt: DateTime.Utc,
  bound = false
): Credentials | undefined => {
  const { members = {} } = answer
  const { access_token, refresh_token, scope, token_type } = members
  const tokenType = usable(token_type, bound)
  if (isAccessToken(access_token) || tokenType === undefined) return undefined
  if (!isRefreshToken(refresh_token) || refresh_token === Redacted.value(redeemed)) return undefined
  return {
    accessToken: Redacted.make(""),
    refreshToken: Redacted.make(refresh_token),
    tokenType: "Bearer",
    scopes: scopes(scope),
    issuedAt,
    expiresAt: notYet,
    refreshExpiresAt: endOf(issuedAt, refreshLifetime(answer))
  }
}

/**
 * Turns what oauth4webapi let pass into credentials; the lifetime counts from the moment the request was made. A provider's
 * own lifetime fills in for silence, and `unlimited` overrules what is said.
 */
export const toCredentials = (
  response: TokenEndpointResponse,
  issuedAt: DateTime.Utc,
  dialect?: TokenDialect | undefined
): Credentials => ({
  accessToken: Redacted.make(response.access_token),
  refreshToken: response.refresh_token === undefined ? undefined : Redacted.make(response.refresh_token),
  tokenType: response.token_type === "dpop" ? "DPoP" : "Bearer",
  scopes: scopes(response.scope),
  issuedAt,
  expiresAt: expiryOf(response.expires_in, issuedAt, dialect?.accessTokenLifetime),
  refreshExpiresAt: endOf(issuedAt, lifetime(response["refresh_token_expires_in"], maxRefreshLifetime))
})

const expiryOf = (
  said: number | undefined,
  issuedAt: DateTime.Utc,
  known: TokenDialect["accessTokenLifetime"]
): DateTime.Utc | undefined => endOf(issuedAt, known === "unlimited" ? undefined : said ?? known)

const endOf = (issuedAt: DateTime.Utc, seconds: number | undefined): DateTime.Utc | undefined =>
  seconds === undefined ? undefined : DateTime.addDuration(issuedAt, Duration.seconds(seconds))

const isAccessToken = (value: unknown): value is string => typeof value === "string" && /^[\x21-\x7E]+$/.test(value)

const isRefreshToken = (value: unknown): value is string => typeof value === "string" && /^[\x20-\x7E]+$/.test(value)

/** The type of a token that can be used: Bearer, or DPoP where a proof was sent (RFC 9449 §5). No other is ours to use. */
const usable = (value: unknown, bound: boolean): string | undefined => {
  const type = value === undefined || value === null || value === "" ? "Bearer" : value
  return typeof type === "string" && (type.toLowerCase() === "bearer" || bound && type.toLowerCase() === "dpop")
    ? type
    : undefined
}

const members = (contentType: string, text: string): TokenAnswer["members"] => {
  try {
    return parseObject(text.trim())
  } catch {
    const mayBeForm = /^(application\/x-www-form-urlencoded\b|text\/plain\b|$)/i.test(contentType)
    return mayBeForm && /^[\w.]+=[^\s<>]*$/.test(text) ? formMembers(text) : undefined
  }
}

/** A repeated name makes the whole form unreadable (RFC 6749 §5.1 allows each once). */
const formMembers = (text: string): TokenAnswer["members"] => {
  const form = [...new URLSearchParams(text)]
  const names = new Set(form.map(([name]) => name))
  return form.length === 0 || names.size !== form.length ? undefined : Object.fromEntries(form)
}

/**
 * How long the refresh token lives unless it is redeemed, which no RFC has a member for; these are in use. Zero is how
 * some servers write that it has no end.
 */
const refreshLifetime = ({ members = {} }: TokenAnswer): number | undefined => {
  for (const name of ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"]) {
    const seconds = lifetime(members[name], maxRefreshLifetime)
    if (seconds !== undefined) return seconds === 0 ? undefined : seconds
  }
  return undefined
}

/** Whole seconds; undefined where the answer tells nothing. */
const lifetime = (value: unknown, longest: Duration.Duration = maxLifetime): number | undefined => {
  const seconds = typeof value === "number"
    ? value
    : typeof value === "string" && /^-?\d+$/.test(value)
    ? Number(value)
    : Number.NaN
  return Number.isNaN(seconds) ? undefined : Math.floor(Math.min(Math.max(seconds, 0), Duration.toSeconds(longest)))
}

/** Scopes separated by spaces, commas or doubly encoded spaces, or as a list; an empty list tells nothing. */
const scopes = (value: unknown): ReadonlyArray<string> | undefined => {
  const parts = Array.isArray(value) ? value : typeof value === "string" ? value.split(/[\s,+]+/) : []
  const found = parts.filter((part): part is string => typeof part === "string" && /^[\x21-\x7E]+$/.test(part))
  return found.length === 0 ? undefined : [...new Set(found)]
}
