import { DateTime, Duration, Effect } from "effect"
import { TokenError } from "../AccessToken.ts"
import type { Connection } from "../Connection.ts"

/** How soon after a refresh for a refused token another one may follow for the same reason. */
const forcedPace = Duration.seconds(60)

/** A resource that refuses what was only just obtained because it had refused the token before gets no third one soon. */
export const brake = Effect.fnUntraced(function*({ credentials, forced, rejected }: Connection) {
  if (!forced || !rejected) return
  const age = DateTime.distance(credentials.issuedAt, yield* DateTime.now)
  if (Duration.isGreaterThanOrEqualTo(age, forcedPace)) return
  return yield* new TokenError({ code: "access_token_refused", retryAfter: Duration.subtract(forcedPace, age) })
})
