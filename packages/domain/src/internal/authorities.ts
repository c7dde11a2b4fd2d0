import { Duration, Effect, Option } from "effect"
import { type AccessToken, type AccessTokenError, TokenError } from "../AccessToken.ts"
import type { Authority } from "../AuthorizationServer.ts"
import { type Connection, ConnectionKey } from "../Connection.ts"
import type { ServerSlug } from "../Server.ts"
import { WorkloadTokens } from "../WorkloadTokens.ts"
import type { makeClientSecrets } from "./clientSecrets.ts"
import { makeOwnRows } from "./ownRow.ts"

/** Brings the token of another connection up to date, by its own refresh. */
export type Renew = (key: ConnectionKey, minValidity: Duration.Duration) => Effect.Effect<AccessToken, AccessTokenError>

/** How long an ID token must be good for when it is shown to its issuer. */
const identityValidity = Duration.seconds(30)

const identityRequired = new TokenError({ code: "identity_required" })

/** Builds the finding of the authority by which a connection that nobody consented to asks for its tokens. */
export const makeAuthorities = Effect.fnUntraced(function*(
  clientSecretOf: ReturnType<typeof makeClientSecrets>,
  renew: Renew
) {
  const connections = yield* makeOwnRows
  const workloads = yield* Effect.serviceOption(WorkloadTokens)

  /** The ID token of the same subject's connection to its identity provider, renewed there when its time is over. */
  const identityOf = Effect.fnUntraced(function*({ subject, tenant }: ConnectionKey, server: ServerSlug) {
    const key = new ConnectionKey({ tenant, subject, server })
    const before = yield* connections.get(key)
    // What is no ID token is shown to nobody as one.
    if (Option.isNone(before) || before.value.grant.keeps !== "id_token") return yield* identityRequired
    const token = yield* Effect.mapError(
      renew(key, identityValidity),
      (error) =>
        error.code === "connection_not_found" || error.code === "reauthorization_required"
          ? identityRequired
          : error
    )
    const now = yield* connections.get(key)
    // A token goes to the issuer that it came from, whatever was consented to meanwhile.
    if (Option.isNone(now) || now.value.generation !== token.generation || now.value.grant.keeps !== "id_token") {
      return yield* new TokenError({ code: "refresh_in_progress", retryAfter: Duration.seconds(1) })
    }
    return {
      _tag: "Identity",
      grant: now.value.grant,
      clientSecret: yield* clientSecretOf(now.value),
      idToken: token.accessToken
    } satisfies Authority
  })

  return Effect.fnUntraced(function*({ grant, key }: Connection): Effect.fn.Return<Authority, AccessTokenError> {
    const { unattended } = grant
    switch (unattended?.grant.type) {
      case undefined:
      case "client_credentials":
        return { _tag: "Client" }
      case "identity_assertion":
        return yield* identityOf(key, unattended.grant.identity)
      case "workload_assertion": {
        const missing = new TokenError({ code: "workload_token_missing" })
        if (Option.isNone(workloads)) return yield* missing
        const token = yield* workloads.value.read(key.tenant, unattended.grant.workload).pipe(
          Effect.tapError((error) => Effect.logWarning("the token of a workload is not read", error)),
          Effect.mapError(() => missing)
        )
        return { _tag: "Workload", token }
      }
    }
  })
})
