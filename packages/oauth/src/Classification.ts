import { RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import type { EgressError } from "@valetkey/egress/EgressError"
import { Duration } from "effect"
import { errorOf, type TokenAnswer } from "./TokenResponse.ts"

/**
 * What each error code means, by what may be done next. A code that is not here says nothing.
 *
 * @see RFC 6749 §5.2, RFC 8628 §3.5, RFC 8707 §2
 */
export const table: Readonly<Record<string, "Terminal" | "Configuration" | "Transient">> = {
  invalid_grant: "Terminal",
  // GitHub
  bad_refresh_token: "Terminal",
  bad_verification_code: "Terminal",
  // Slack
  invalid_refresh_token: "Terminal",
  invalid_code: "Terminal",
  code_already_used: "Terminal",
  // Microsoft Entra and OpenID Connect: only the person can go on
  interaction_required: "Terminal",
  login_required: "Terminal",
  consent_required: "Terminal",
  invalid_client: "Configuration",
  unauthorized_client: "Configuration",
  unsupported_grant_type: "Configuration",
  invalid_request: "Configuration",
  invalid_scope: "Configuration",
  invalid_target: "Configuration",
  incorrect_client_credentials: "Configuration",
  redirect_uri_mismatch: "Configuration",
  // RFC 9449 §5
  invalid_dpop_proof: "Configuration",
  invalid_client_id: "Configuration",
  bad_client_secret: "Configuration",
  server_error: "Transient",
  temporarily_unavailable: "Transient",
  slow_down: "Transient",
  // RFC 9449 §8: asked for again after it was given
  use_dpop_nonce: "Transient"
}

/** Classifies a request that got no answer: only one of which certainly no byte left may be made again. */
export const ofEgress = (error: EgressError): RedemptionFailure =>
  // A redirect is an answer: the endpoint did not process the request, and nothing followed it.
  !error.sent || error.reason._tag === "Redirected" ? transient(undefined) : unknownOutcome

/** Classifies an answer that grants nothing: the statuses that ask for patience first, then the error code. */
export const ofAnswer = (answer: TokenAnswer, nowMillis: number): RedemptionFailure => {
  const { status } = answer
  const retryAfter = parseRetryAfter(answer.retryAfter, nowMillis)
  if (status === 408 || status === 425 || status === 429 || status >= 500) return transient(retryAfter)
  const error = errorOf(answer)
  // A success that cannot be read may have redeemed what it was asked for.
  if (error === undefined) return status < 300 ? unknownOutcome : unclear(retryAfter)
  switch (Object.hasOwn(table, error) ? table[error] : undefined) {
    case "Terminal":
      return RedemptionFailure.cases.Terminal.make({ error })
    case "Configuration":
      return RedemptionFailure.cases.Configuration.make({ error })
    case "Transient":
      return transient(retryAfter)
    default:
      return unclear(retryAfter)
  }
}

/** The classification of a success whose content cannot be used. */
export const unknownOutcome: RedemptionFailure = RedemptionFailure.cases.UnknownOutcome.make({})

/** The longest wait that a server may ask for. */
export const maxRetryAfter: Duration.Duration = Duration.hours(1)

/** Reads `Retry-After` as seconds or as a date (RFC 9110 §10.2.3); a date that has passed is no wait at all. */
export const parseRetryAfter = (value: string | undefined, nowMillis: number): Duration.Duration | undefined => {
  if (value === undefined) return undefined
  const millis = /^\d+$/.test(value)
    ? Number(value) * 1000
    : /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(value)
    ? Date.parse(value) - nowMillis
    : Number.NaN
  return Number.isNaN(millis)
    ? undefined
    : Duration.millis(Math.min(Math.max(millis, 0), Duration.toMillis(maxRetryAfter)))
}

const transient = (retryAfter: Duration.Duration | undefined): RedemptionFailure =>
  RedemptionFailure.cases.Transient.make(retryAfter === undefined ? {} : { retryAfter })

const unclear = (retryAfter: Duration.Duration | undefined): RedemptionFailure =>
  RedemptionFailure.cases.Transient.make({ unclear: true, ...(retryAfter === undefined ? {} : { retryAfter }) })
