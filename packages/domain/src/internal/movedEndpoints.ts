import { Effect, Option } from "effect"
import { type AuthorizationServerMetadata, DiscoveryError } from "../AuthorizationServer.ts"
import type { ConnectionKey } from "../Connection.ts"
import type { ConnectionStore } from "../ConnectionStore.ts"
import type { Server } from "../Server.ts"

/**
 * Refuses an issuer whose token endpoint is on another origin than a person's last consent recorded: metadata that somebody
 * else wrote would have the next code and the client's secret sent to him. Endpoints that an operator configured are his
 * word, and an ended connection recorded nothing.
 *
 * @see RFC 9700 §4.4
 */
export const refuseMoved = Effect.fnUntraced(function*(
  connections: ConnectionStore["Service"],
  key: ConnectionKey,
  server: Server,
  { issuer, tokenEndpoint }: AuthorizationServerMetadata
) {
  if (server.endpoints !== undefined) return
  const found = yield* connections.get(key)
  if (Option.isNone(found) || found.value.status._tag === "revoking") return
  const { grant } = found.value
  if (grant.issuer !== issuer || new URL(grant.tokenEndpoint).origin === new URL(tokenEndpoint).origin) return
  const [recorded, named] = [new URL(grant.tokenEndpoint).host, new URL(tokenEndpoint).host]
  yield* Effect.logWarning("a token endpoint moved to another origin; the start is refused", {
    issuer,
    recorded,
    named
  })
  return yield* new DiscoveryError({ code: "token_endpoint_moved" })
})
