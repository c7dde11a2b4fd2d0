import { RevocationError } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { Clock, Effect, Redacted } from "effect"
import { type AuthorizationServer, type Client, type ClientAuth, revocationRequest } from "oauth4webapi"
import { parseRetryAfter } from "./Classification.ts"
import { clientAuthentication } from "./internal/clientAuthentication.ts"
import { type Outbound, requestOptions } from "./internal/outbound.ts"
import { errorOf, read } from "./TokenResponse.ts"

/**
 * Revokes one token. `confirmed` is a success, which servers also give for a token that is void already; `unsupported` is
 * what no repetition changes. Everything else is to be tried again.
 *
 * @see RFC 7009 §2.2
 */
export const revoke = (
  outbound: Outbound,
  grant: Grant,
  input: {
    readonly token: Redacted.Redacted
    readonly hint: "access_token" | "refresh_token"
    readonly clientSecret: Redacted.Redacted | undefined
  }
): Effect.Effect<"confirmed" | "unsupported", RevocationError> =>
  Effect.gen(function*() {
    const endpoint = grant.revocationEndpoint
    if (endpoint === undefined) return "unsupported"
    const byItself = grant.dialect?.revocation === "bearer"
    // Only an access token authorizes a request.
    if (byItself && input.hint === "refresh_token") return "unsupported"
    const auth = byItself ? bearer(input.token) : yield* clientAuthentication(grant.authMethod, input.clientSecret)
    if (auth === undefined) return yield* new RevocationError({ code: "client_secret_missing" })
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
              signal,
              body: byItself ? "none" : grant.dialect?.requestBody
            }),
            additionalParameters: { token_type_hint: input.hint }
          })
        ),
      catch: (thrown) =>
        new RevocationError({
          code: "revocation_unreachable",
          cause: findEgressError(thrown) ?? new Error("No usable answer")
        })
    })
    const { status } = answer
    // Who answers every request with 200 says in the body what came of it.
    if (status >= 200 && status < 300 && (!byItself || errorOf(answer) === undefined)) return "confirmed"
    // A token that authorizes nothing is void.
    if (byItself && (status === 401 || (status < 300 && gone.has(errorOf(answer) ?? "")))) return "confirmed"
    if (status === 400 && errorOf(answer) === "unsupported_token_type") return "unsupported"
    const cause = new Error(`Answered with status ${status}`)
    if (status !== 408 && status !== 425 && status !== 429 && status < 500) {
      return yield* new RevocationError({ code: "revocation_refused", cause })
    }
    const retryAfter = parseRetryAfter(answer.retryAfter, yield* Clock.currentTimeMillis)
    return yield* new RevocationError({
      code: "revocation_unavailable",
      ...(retryAfter === undefined ? {} : { retryAfter }),
      cause
    })
  })

/** The token authorizes the request and is all that it says: nothing of the client goes along. */
const bearer = (token: Redacted.Redacted): ClientAuth => (_as, _client, _body, headers) => {
  headers.set("authorization", `Bearer ${Redacted.value(token)}`)
}

/** What Slack says of a token that is void already. */
const gone: ReadonlySet<string> = new Set(["token_revoked", "token_expired", "invalid_auth", "account_inactive"])
