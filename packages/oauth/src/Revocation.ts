import { RevocationError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { Effect, Redacted } from "effect"
import { type AuthorizationServer, type Client, revocationRequest } from "oauth4webapi"
import { clientAuthentication } from "./internal/clientAuthentication.ts"
import { type Outbound, requestOptions } from "./internal/outbound.ts"
import { errorOf, read } from "./TokenResponse.ts"

/**
 * Revokes one token. Done when the server says so, when it cannot revoke this kind of token, or when it offers no
 * revocation; everything else is to be tried again.
 *
 * @see RFC 7009 §2
 */
export const revoke = (
  outbound: Outbound,
  grant: Grant,
  input: {
    readonly token: Redacted.Redacted
    readonly hint: "access_token" | "refresh_token"
    readonly clientSecret: Redacted.Redacted | undefined
  }
): Effect.Effect<void, RevocationError> =>
  Effect.gen(function*() {
    const endpoint = grant.revocationEndpoint
    if (endpoint === undefined) return
    const auth = clientAuthentication(grant.authMethod, input.clientSecret)
    if (auth === undefined) {
      return yield* new RevocationError({
        cause: new Error("The client authenticates with a secret and none is known")
      })
    }
    const as: AuthorizationServer = { issuer: grant.issuer, revocation_endpoint: endpoint }
    const client: Client = { client_id: grant.clientId }
    const answer = yield* Effect.tryPromise({
      try: async (signal) =>
        read(
          await revocationRequest(as, client, auth, Redacted.value(input.token), {
            ...requestOptions({
              egress: outbound.egress,
              endpoint,
              origin: grant.resource ?? grant.tokenEndpoint,
              deadline: outbound.revocation,
              signal
            }),
            additionalParameters: { token_type_hint: input.hint }
          })
        ),
      catch: (thrown) => new RevocationError({ cause: findEgressError(thrown) ?? new Error("No usable answer") })
    })
    if (answer.status >= 200 && answer.status < 300) return
    if (answer.status === 400 && errorOf(answer) === "unsupported_token_type") return
    return yield* new RevocationError({ cause: new Error(`Answered with status ${answer.status}`) })
  })
