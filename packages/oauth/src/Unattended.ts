import { type Authority, RedemptionError, RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import { Effect, type Redacted } from "effect"
import * as ClientCredentials from "./ClientCredentials.ts"
import * as IdentityAssertion from "./IdentityAssertion.ts"
import type { Outbound } from "./internal/outbound.ts"
import * as JwtBearer from "./JwtBearer.ts"

/**
 * Asks for an access token on whichever word it is given. A refresh token in the answer is dropped: asking again costs
 * nobody a consent, and these grants should have none (RFC 6749 §4.4.3, RFC 7521 §4.1).
 */
export const obtain = (
  outbound: Outbound,
  grant: Grant,
  { authority, clientSecret }: {
    readonly clientSecret: Redacted.Redacted | undefined
    readonly authority: Authority
  }
): Effect.Effect<Credentials, RedemptionError> =>
  Effect.map(ask(outbound, grant, authority, clientSecret), ({ refreshToken: _, ...credentials }) => credentials)

const ask = (
  outbound: Outbound,
  grant: Grant,
  authority: Authority,
  clientSecret: Redacted.Redacted | undefined
): Effect.Effect<Credentials, RedemptionError> => {
  switch (authority._tag) {
    case "Client":
      return byClient(ClientCredentials.obtain(outbound, grant, clientSecret))
    case "Workload":
      return byClient(JwtBearer.obtain(outbound, grant, clientSecret, authority.token))
    case "Identity":
      return Effect.flatMap(
        IdentityAssertion.exchange(outbound, grant, authority),
        (assertion) => byClient(JwtBearer.obtain(outbound, grant, clientSecret, assertion))
      )
  }
}

/** What is refused for good where no person's word was used up: whoever set up the client can mend it, nobody else. */
const byClient = <A>(request: Effect.Effect<A, RedemptionError>): Effect.Effect<A, RedemptionError> =>
  Effect.mapError(request, (error) =>
    error.reason._tag === "Terminal"
      ? new RedemptionError({
        reason: RedemptionFailure.cases.Configuration.make({ error: error.reason.error }),
        cause: error
      })
      : error)
