import { Context, type Effect } from "effect"
import type { CipherError } from "./Cipher.ts"
import type { StateVerdict } from "./StateTags.ts"

/**
 * Port: tags that tell the client documents of this installation from those that a stranger writes. A document that names a
 * key has the key in its URL, and anybody can write a URL: without a tag our origin would vouch for whichever key it holds.
 */
export class DocumentTags extends Context.Service<DocumentTags, {
  /**
   * The tag of a key in a connection context, under the key that seals: the same for as long as that is. It names that
   * key, and holds nothing else. Fails closed without a key.
   */
  issue(context: string, key: string): Effect.Effect<string, CipherError>
  /**
   * Judges the tag that a path brought for its context and key, by the keys that this process holds, whatever the store
   * says of them. It asks no store and compares in constant time. Fails when no key can be read.
   */
  judge(context: string, key: string, tag: string): Effect.Effect<StateVerdict, CipherError>
}>()("@valetkey/domain/DocumentTags") {}
