import { Effect, type Redacted } from "effect"
import type { Cipher, CipherError } from "../Cipher.ts"
import { type Connection, type Grant, sealContext } from "../Connection.ts"
import { type Server, sharesProof } from "../Server.ts"
import { sealContext as serverContext, type ServerStore } from "../ServerStore.ts"
import type { StoreError } from "../StoreError.ts"

/**
 * Opens the secret that a connection's client has today: that of the server's description when it describes the very
 * client and authorization server of the grant, so that a secret which an operator replaced needs no new consent; else
 * that of the consent. The grant says how it is used, so a description that has changed between a secret and a signing key
 * counts for the next consent alone. A client without a secret costs no read.
 */
export const makeClientSecrets =
  (cipher: Cipher["Service"], servers: ServerStore["Service"]) =>
  ({ clientSecret, epoch, grant, key }: Connection): Effect.Effect<
    Redacted.Redacted | undefined,
    CipherError | StoreError
  > => {
    if (grant.authMethod === "none") return Effect.undefined
    return Effect.flatMap(servers.get(key.tenant, key.server), (server) => {
      const current = server._tag === "Some" && describes(server.value, grant)
        ? server.value.client?.clientSecret
        : undefined
      if (current !== undefined) return cipher.open(serverContext(key.tenant, key.server), current)
      return clientSecret === undefined
        ? Effect.undefined
        : cipher.open(sealContext(key, epoch, "client_secret", 0), clientSecret)
    })
  }

/** Whether the secret may be used at the grant's token endpoint: it must be meant for that server and use, and no other. */
const describes = (server: Server, grant: Grant): boolean => {
  if (server.client?.clientId !== grant.clientId || !sharesProof(server.client.authMethod, grant.authMethod)) {
    return false
  }
  if (server.endpoints !== undefined) return server.endpoints.token === grant.tokenEndpoint
  return server.issuer === undefined ? server.resource === grant.resource : server.issuer === grant.issuer
}
