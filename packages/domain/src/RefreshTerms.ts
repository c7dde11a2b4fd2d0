import { Duration, Schema } from "effect"

const units = { minute: 60, hour: 3600, day: 86_400, year: 365 * 86_400 } as const

/** The length of time that a text names, from a minute to ten years; undefined for every other text. */
export const spanOf = (text: string): Duration.Duration | undefined => {
  const found = /^([1-9]\d{0,6}) ?(minute|hour|day|year)s?$/.exec(text)
  if (found === null) return undefined
  const seconds = Number(found[1]) * units[found[2] as keyof typeof units]
  return seconds <= 10 * units.year ? Duration.seconds(seconds) : undefined
}

/** Schema for a length of time as an operator writes it: `45 minutes`, `12 hours`, `60 days`, `1 year`. */
export const Span = Schema.String.check(
  Schema.makeFilter((text) =>
    spanOf(text) === undefined
      ? "expected a number of minutes, hours, days or years, such as 60 days, from a minute to ten years"
      : undefined
  )
)

/**
 * Schema for which connections are renewed before anybody asks: those whose tokens were handed out lately (`on_use`), all
 * (`always`), or only those whose refresh token would idle out (`keep_alive`, which the first two do as well). With `never`
 * nothing happens that nobody asked for.
 */
export const RenewalPolicy = Schema.Literals(["on_use", "always", "keep_alive", "never"])
export type RenewalPolicy = typeof RenewalPolicy.Type

/** The members of a server's description that say how long its refresh tokens live, and what is done about it. */
export const refreshTermsFields = {
  /** How long the provider lets a refresh token lie unused, where its answers do not say (`refresh_token_expires_in`). */
  refreshTokenIdleLimit: Schema.optionalKey(Span),
  /** How long after a consent the provider ends the grant, however often it is used. */
  refreshTokenLifetime: Schema.optionalKey(Span),
  /** Default `on_use`. */
  refreshAhead: Schema.optionalKey(RenewalPolicy)
}

/** How long refresh tokens of a server live, and what is done about it. */
export interface RefreshTerms {
  readonly idleLimit: Duration.Duration | undefined
  readonly lifetime: Duration.Duration | undefined
  readonly ahead: RenewalPolicy
}

/** What a server's description says of its refresh tokens; without one, what holds by default. */
export const refreshTermsOf = (server: {
  readonly refreshTokenIdleLimit?: string | undefined
  readonly refreshTokenLifetime?: string | undefined
  readonly refreshAhead?: RenewalPolicy | undefined
}): RefreshTerms => ({
  idleLimit: server.refreshTokenIdleLimit === undefined ? undefined : spanOf(server.refreshTokenIdleLimit),
  lifetime: server.refreshTokenLifetime === undefined ? undefined : spanOf(server.refreshTokenLifetime),
  ahead: server.refreshAhead ?? "on_use"
})
