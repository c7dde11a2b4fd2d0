import { Clock, Duration, Effect } from "effect"
import type { Connection } from "../Connection.ts"
import type { Sealed } from "../Sealed.ts"

/** How long it is believed that a process has the keys that it had. */
const believed = Duration.seconds(5)
/** Names that are remembered; a forgotten one costs opening before a claim. */
const remembered = 10_000

/** What this process has lately shown to be able to open, and to seal for. */
export interface ProvenKeys {
  /** Whether the secrets of this connection are under keys that served for others like them a moment ago. */
  holds(connection: Connection): Effect.Effect<boolean>
  /** They were opened, and sealing for the same tenant was tried. */
  learn(connection: Connection): Effect.Effect<void>
  /** They were not. */
  forget(connection: Connection): void
}

/**
 * Makes the memory of keys that work. Whoever has none of it learns nothing, and so never claims what it could not redeem;
 * whoever loses a key forgets it with the first claim that it has to give back.
 */
export const makeProvenKeys = (): ProvenKeys => {
  const proven = new Map<string, bigint>()
  return {
    holds: (connection) =>
      Effect.map(Clock.monotonicTimeNanos, (now) => {
        const since = proven.get(nameOf(connection))
        return since !== undefined && now - since < Duration.toNanosUnsafe(believed)
      }),
    learn: (connection) =>
      Effect.map(Clock.monotonicTimeNanos, (now) => {
        const name = nameOf(connection)
        proven.delete(name)
        proven.set(name, now)
        if (proven.size <= remembered) return
        const { value: oldest } = proven.keys().next()
        if (oldest !== undefined) proven.delete(oldest)
      }),
    forget: (connection) => void proven.delete(nameOf(connection))
  }
}

/** What decides which keys a redemption takes: the tenant, the keys that the envelopes name, and the server whose secret goes along. */
const nameOf = ({ account, clientSecret, credentials, grant, key }: Connection): string =>
  JSON.stringify([
    key.tenant,
    grant.authMethod === "none" ? "" : key.server,
    ...[credentials.refreshToken, account, clientSecret].map(keyOf)
  ])

/** The format and the id of the key that an envelope names: its first eight bytes. */
const keyOf = (sealed: Sealed | undefined): string => sealed === undefined ? "" : sealed.subarray(0, 8).join(".")
