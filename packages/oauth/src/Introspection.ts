import type { Grant } from "@valetkey/domain/Connection"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { DateTime, Duration, Effect, Redacted } from "effect"
import { type AuthorizationServer, type Client, introspectionRequest, processIntrospectionResponse } from "oauth4webapi"
import { clientAuthentication } from "./internal/clientAuthentication.ts"
import { type Outbound, requestOptions } from "./internal/outbound.ts"
import { maxLifetime } from "./TokenResponse.ts"

/**
 * Asks once when an access token ends. An inactive token has no end to learn, and one that is called active beyond its end
 * tells of two clocks; no lifetime is longer than what a token answer may say.
 *
 * @see RFC 7662 §2
 */
export const expiryOf = (
  outbound: Outbound,
  grant: Grant,
  input: { readonly accessToken: Redacted.Redacted; readonly clientSecret: Redacted.Redacted | undefined }
): Effect.Effect<DateTime.Utc | undefined> =>
  Effect.gen(function*() {
    const endpoint = grant.introspectionEndpoint
    if (endpoint === undefined) return undefined
    const auth = yield* clientAuthentication(grant.authMethod, input.clientSecret)
    if (auth === undefined) return undefined
    const as: AuthorizationServer = { issuer: grant.issuer, introspection_endpoint: endpoint }
    const client: Client = { client_id: grant.clientId }
    const { active, exp } = yield* Effect.tryPromise({
      try: async (signal) =>
        processIntrospectionResponse(
          as,
          client,
          await introspectionRequest(as, client, auth, Redacted.value(input.accessToken), {
            ...requestOptions({
              egress: outbound.egress,
              endpoint,
              origin: grant.resource ?? grant.tokenEndpoint,
              deadline: outbound.introspection,
              signal
            }),
            additionalParameters: { token_type_hint: "access_token" }
          })
        ),
      // What oauth4webapi throws holds the body.
      catch: (thrown) => findEgressError(thrown) ?? new Error("No usable answer")
    })
    const now = yield* DateTime.now
    if (!active || typeof exp !== "number" || !(exp * 1000 > DateTime.toEpochMillis(now))) return undefined
    const longest = DateTime.toEpochMillis(DateTime.addDuration(now, maxLifetime))
    return DateTime.makeUnsafe(Math.min(Math.floor(exp) * 1000, longest))
  }).pipe(
    Effect.timeout(Duration.sum(outbound.introspection, Duration.seconds(1))),
    Effect.catch((error) => Effect.as(Effect.logWarning("expiry of an access token not learnt", error), undefined))
  )
