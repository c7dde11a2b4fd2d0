import { type DateTime, Duration } from "effect"
import { TokenError } from "../AccessToken.ts"
import type { Connection } from "../Connection.ts"

/** How soon after a refresh for a refused token another one may follow for the same reason. */
const forcedPace = Duration.seconds(60)

/**
 * Why no token is obtained for one that was refused: it was obtained for a refused one itself, less than a minute ago. A
 * clock that was set back since then keeps nobody waiting.
 */
export const brakeOf = ({ credentials, forced }: Connection, now: DateTime.Utc): TokenError | undefined => {
  if (!forced) return undefined
  const age = now.epochMilliseconds - credentials.issuedAt.epochMilliseconds
  return age < 0 || age >= Duration.toMillis(forcedPace)
    ? undefined
    : new TokenError({
      code: "access_token_refused",
      retryAfter: Duration.subtract(forcedPace, Duration.millis(age))
    })
}
