import { DateTime, Effect, Option } from "effect"
import type { Connection, ReauthReason } from "../Connection.ts"
import { forecastOf } from "../Forecast.ts"
import { refreshTermsOf } from "../RefreshTerms.ts"
import { ServerStore } from "../ServerStore.ts"

/**
 * Builds the finding of why a refresh token was refused: what the forecast said would happen by now is the reason; without
 * one nobody knows more than the refusal.
 */
export const makeRefusalReasons = Effect.map(
  ServerStore,
  (servers) =>
    Effect.fnUntraced(function*(connection: Connection): Effect.fn.Return<ReauthReason> {
      const { server, tenant } = connection.key
      const described = Option.flatten(yield* Effect.option(servers.get(tenant, server)))
      const { endsAt, idlesOutAt } = forecastOf(connection, refreshTermsOf(Option.getOrElse(described, () => ({}))))
      const now = yield* DateTime.now
      if (endsAt !== undefined && DateTime.isLessThanOrEqualTo(endsAt, now)) return "grant_expired"
      return idlesOutAt !== undefined && DateTime.isLessThanOrEqualTo(idlesOutAt, now)
        ? "refresh_token_idled_out"
        : "refresh_token_rejected"
    })
)
