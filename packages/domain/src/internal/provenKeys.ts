import { Clock, Duration, Effect } from "effect"
import type { AccessTokenError } from "../AccessToken.ts"
import type { Connection } from "../Connection.ts"
import type { Sealed } from "../Sealed.ts"

/** How long it is believed that a process has the keys that it had. */
const believed = Duration.seconds(5)
/** Names and failures that are remembered; a forgotten one costs opening before a claim, or a claim that is given back. */
const remembered = 10_000

/** What this process has lately shown to be able to open, and to seal for. */
export interface ProvenKeys {
  /** Whether the secrets of this connection are under keys that served for others like them a moment ago. */
  holds(connection: Connection): Effect.Effect<boolean>
  /** They were opened, and sealing for the same tenant was tried. */
  learn(connection: Connection): Effect.Effect<void>
  /** They were not. */
  forget(connection: Connection, error?: AccessTokenError): void
}

/**
 * Makes the memory of keys that work. Whoever has none of it learns nothing, and so never claims what it could not redeem;
 * whoever loses a key forgets it with the first claim that it has to give back.
 */
export const makeProvenKeys = (): ProvenKeys => {
  const proven = new Map<string, bigint>()
  /** Generations that could not be opened when they were last tried. */
  const failed = new Map<string, true>()
  return {
    holds: (connection) =>
      Effect.map(Clock.monotonicTimeNanos, (now) => {
        if (!isPlain(connection) || failed.has(rowOf(connection))) return false
        const since = proven.get(nameOf(connection))
        return since !== undefined && now - since < Duration.toNanosUnsafe(believed)
      }),
    learn: (connection) =>
      Effect.map(Clock.monotonicTimeNanos, (now) => {
        failed.delete(rowOf(connection))
        if (isPlain(connection)) put(proven, nameOf(connection), now)
      }),
    forget: (connection, error) => {
      put(failed, rowOf(connection), true)
      // An envelope that fails its check says nothing of the others under its key; and what is wrong with the key ends
      // what is believed of it, as nothing is learnt any more.
      if (error?.code !== "integrity_error") proven.delete(nameOf(connection))
    }
  }
}

/**
 * Whether the connection's own envelopes are all that its redemption takes. The secret of a client may be that of the
 * server's description, whose envelope is not known before it is read; and on whose word a token is asked for may take a
 * refresh of its own to find out: longer than a claim lasts.
 */
const isPlain = ({ grant }: Connection): boolean => grant.authMethod === "none" && grant.unattended === undefined

/** What decides which keys a plain redemption takes: the tenant, and the keys that the envelopes name. */
const nameOf = ({ account, credentials, key }: Connection): string =>
  JSON.stringify([key.tenant, keyOf(credentials.refreshToken), keyOf(account)])

const rowOf = ({ epoch, generation, key }: Connection): string => `${key.path} ${epoch} ${generation}`

/** The format and the id of the key that an envelope names: its first eight bytes. */
const keyOf = (sealed: Sealed | undefined): string => sealed === undefined ? "" : sealed.subarray(0, 8).join(".")

/** Puts what is newest last, and drops what is oldest where there is too much. */
const put = <V>(map: Map<string, V>, name: string, value: V): void => {
  map.delete(name)
  map.set(name, value)
  if (map.size <= remembered) return
  const { value: oldest } = map.keys().next()
  if (oldest !== undefined) map.delete(oldest)
}
