import { Effect, Option } from "effect"
import { type AuthorizationServerMetadata, DiscoveryError } from "../AuthorizationServer.ts"
import type { ConnectionKey } from "../Connection.ts"
import type { Server } from "../Server.ts"
import type { OwnRows } from "./ownRow.ts"

/**
 * Refuses an authorization server that is another than a person's last consent recorded: metadata that somebody else wrote
 * would have the next code, the tokens to revoke and the client's secret sent to him. Under the same issuer that is a token,
 * revocation or introspection endpoint on another origin. Another issuer is a move that a person may consent to, but a client that was
 * registered by hand has its secret for the old one alone. Endpoints and an issuer that an operator configured are his word,
 * and an ended connection recorded nothing.
 *
 * @see RFC 9700 §4.4
 */
export const refuseMoved = Effect.fnUntraced(function*(
  connections: OwnRows,
  key: ConnectionKey,
  server: Server,
  metadata: AuthorizationServerMetadata
) {
  if (server.endpoints !== undefined) return
  const found = yield* connections.get(key)
  if (Option.isNone(found) || found.value.status._tag === "revoking") return
  const { grant } = found.value
  const isMoved = grant.issuer === metadata.issuer
    ? isElsewhere(grant.tokenEndpoint, metadata.tokenEndpoint) ||
      isElsewhere(grant.revocationEndpoint, metadata.revocationEndpoint) ||
      // Where none was recorded, the token endpoint is what the secret and the token were shown to.
      isElsewhere(grant.introspectionEndpoint ?? grant.tokenEndpoint, metadata.introspectionEndpoint)
    : server.issuer === undefined && server.client?.clientSecret !== undefined
  if (!isMoved) return
  yield* Effect.logWarning("an authorization server moved to another origin; the start is refused", {
    recorded: grant.issuer,
    named: metadata.issuer
  })
  return yield* new DiscoveryError({ code: "authorization_server_moved" })
})

/**
 * Refuses to show a client's secret to a device authorization or pushed authorization endpoint that is on neither the issuer's nor the token
 * endpoint's origin: no consent comes before it, and nothing else vouches for it.
 */
export const refuseForeign = (
  server: Server,
  { issuer, tokenEndpoint }: AuthorizationServerMetadata,
  endpoint: string | undefined,
  hasSecret: boolean
): Effect.Effect<void, DiscoveryError> =>
  hasSecret && server.endpoints === undefined && isElsewhere(issuer, endpoint) &&
    isElsewhere(tokenEndpoint, endpoint)
    ? Effect.fail(new DiscoveryError({ code: "authorization_server_moved" }))
    : Effect.void

const isElsewhere = (recorded: string | undefined, named: string | undefined): boolean =>
  recorded !== undefined && named !== undefined && new URL(recorded).origin !== new URL(named).origin
