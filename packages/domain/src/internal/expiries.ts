import { Duration, Effect, type Redacted } from "effect"
import { AuthorizationServer } from "../AuthorizationServer.ts"
import type { ConnectionKey, Epoch, Generation, Grant } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import type { Credentials } from "../Credentials.ts"

/** How long asking and noting may take together; nobody waits for it but a shutdown. */
const patience = Duration.seconds(10)

/**
 * Builds the asking when an access token ends whose answer did not say so. It is for credentials that are stored: between an
 * answer and its storing nothing is asked, and whatever fails here leaves them as they are.
 */
export const makeExpiries = Effect.gen(function*() {
  const server = yield* AuthorizationServer
  const connections = yield* ConnectionStore

  return Effect.fnUntraced(
    function*(
      { epoch, generation, grant, key }: {
        readonly key: ConnectionKey
        readonly epoch: Epoch
        readonly generation: Generation
        readonly grant: Grant
      },
      { accessToken, expiresAt }: Pick<Credentials, "accessToken" | "expiresAt">,
      clientSecret: Redacted.Redacted | undefined
    ) {
      if (grant.introspectionEndpoint === undefined || expiresAt !== undefined) return
      const learnt = yield* server.expiryOf(grant, { accessToken, clientSecret })
      if (learnt !== undefined) yield* connections.setExpiry(key, { generation, epoch, expiresAt: learnt })
    },
    Effect.timeoutOption(patience),
    Effect.interruptible,
    Effect.catchCause((cause) => Effect.logWarning("expiry of an access token not stored", cause)),
    Effect.asVoid
  )
})
