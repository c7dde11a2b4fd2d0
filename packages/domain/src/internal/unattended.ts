import { Effect, Option, Redacted, Schema } from "effect"
import { AuthorizationServer, DiscoveryError } from "../AuthorizationServer.ts"
import { Cipher } from "../Cipher.ts"
import { type Connection, type ConnectionKey, Epoch, type Grant, sealContext } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { coversScopes, type Credentials, notYet } from "../Credentials.ts"
import { Entropy } from "../Entropy.ts"
import { type PreregisteredClient, type Server, UnattendedGrant } from "../Server.ts"
import { sealContext as serverContext } from "../ServerStore.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { makeAuditing } from "./auditing.ts"
import { refuseMoved } from "./movedEndpoints.ts"
import { makeOwnRows } from "./ownRow.ts"
import { sealCredentials } from "./sealing.ts"
import { grantOf, resourceOf } from "./ways.ts"

/**
 * Builds connections that need no person. What is stored has an empty access token whose time is over: the first token is
 * asked for like every later one, once for all replicas.
 */
export const makeUnattended = Effect.gen(function*() {
  const authorizationServer = yield* AuthorizationServer
  const connections = yield* ConnectionStore
  const rows = yield* makeOwnRows
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const signals = yield* Signals
  const audit = yield* makeAuditing

  /** The connection that is there, if it is of this grant, client and server and covers the scopes; else a new one in its place. */
  return Effect.fnUntraced(function*(
    key: ConnectionKey,
    server: Server,
    unattended: UnattendedGrant,
    scopes: ReadonlyArray<string> | undefined
  ) {
    const metadata = yield* authorizationServer.discover(server)
    yield* refuseMoved(rows, key, server, metadata)
    const { client } = server
    if (client === undefined || client.clientSecret === undefined && !isPublic(client, unattended)) {
      return yield* new DiscoveryError({ code: "client_secret_missing" })
    }
    // An issuer that only the description vouches for would be sent assertions that are meant for another.
    if (unattended.type !== "client_credentials" && server.endpoints !== undefined) {
      return yield* new DiscoveryError({ code: "metadata_invalid" })
    }
    const secret = client.clientSecret === undefined
      ? undefined
      : yield* cipher.open(serverContext(key.tenant, key.server), client.clientSecret)
    const grant: Grant = {
      ...grantOf(server, metadata, client, resourceOf(server, metadata)),
      unattended: { grant: unattended, scopes: scopes ?? server.scopes ?? withoutPeople(metadata.scopes) }
    }
    const epoch = Epoch.make(yield* entropy.id)
    while (true) {
      const current = yield* rows.get(key)
      if (Option.isSome(current) && serves(current.value, grant)) return current.value
      const previous = Option.isNone(current) ? 0 : current.value.generation
      const isStored = yield* connections.deposit(key, {
        epoch,
        previous,
        grant,
        ...(secret === undefined
          ? {}
          : { clientSecret: yield* cipher.seal(sealContext(key, epoch, "client_secret", 0), secret) }),
        credentials: yield* sealCredentials(cipher, { key, epoch, generation: previous + 1 }, nothing),
        // What a person consented to is used by nobody from now on.
        owesFormer: Option.isSome(current) && current.value.grant.unattended === undefined
      })
      if (!isStored) continue
      yield* signals.notify(connectionTopic(key))
      yield* audit(key, "connection.prepared", unattended.type, previous + 1)
    }
  })
})

/** No token yet. */
const nothing: Credentials = {
  accessToken: Redacted.make(""),
  tokenType: "Bearer",
  issuedAt: notYet,
  expiresAt: notYet
}

/** What discovery recommends is meant for a person's consent: a client has nobody who is offline. */
const withoutPeople = (scopes: ReadonlyArray<string> = []): ReadonlyArray<string> =>
  scopes.filter((scope) => scope !== "offline_access" && scope !== "openid")

/** The word of a platform stands for its workload, so a client that repeats it needs no secret (RFC 7521 §4.1). */
const isPublic = ({ authMethod }: PreregisteredClient, { type }: UnattendedGrant): boolean =>
  authMethod === "none" && type === "workload_assertion"

const isSameGrant = Schema.toEquivalence(Schema.UndefinedOr(UnattendedGrant))

const serves = ({ grant, status }: Connection, wanted: Grant): boolean =>
  status._tag === "active" && isSameGrant(grant.unattended?.grant, wanted.unattended?.grant) &&
  grant.issuer === wanted.issuer && grant.tokenEndpoint === wanted.tokenEndpoint &&
  grant.clientId === wanted.clientId && grant.authMethod === wanted.authMethod &&
  grant.resource === wanted.resource && grant.destination === wanted.destination &&
  coversScopes(grant.unattended?.scopes, wanted.unattended?.scopes ?? [])
