import { Context, type Effect, type Redacted } from "effect"
import type { CipherError } from "./Cipher.ts"

/**
 * What the tag of a `state` says: made under a key of this installation; made by nobody here; or under a key that this
 * process does not hold, so that only the store can tell.
 */
export type StateVerdict = "ours" | "foreign" | "undecided"

/**
 * Port: `state` values that a replica tells from junk without a look at the store. The tag saves work and grants nothing:
 * what it lets through still has to match a row.
 */
export class StateTags extends Context.Service<StateTags, {
  /**
   * 256 bits from the system's generator and their tag, under the key that seals. It names that key, and no tenant,
   * person or flow. Fails closed without a key.
   */
  readonly issue: Effect.Effect<Redacted.Redacted, CipherError>
  /**
   * Judges what a browser brought, by the keys that this process holds, whatever the store says of them: a state stays
   * valid through promotion and retirement for as long as its key is configured. It asks no store and compares in
   * constant time. Fails when no key can be read.
   */
  judge(state: Redacted.Redacted): Effect.Effect<StateVerdict, CipherError>
}>()("@valetkey/domain/StateTags") {}
