import { Result } from "effect"
import { createDecipheriv, type KeyObject, timingSafeEqual } from "node:crypto"
import { associatedData, derive, type Derived, format1, format2, layout, sealFresh } from "./internal/envelope.ts"

/** Where an envelope belongs. Every field is authenticated, in this order. */
export interface EnvelopeContext {
  readonly instance: string
  readonly table: string
  readonly tenant: string
  readonly row: string
  readonly field: string
  readonly generation: number
}

/** Which keys an envelope is under: root keys of the installation (1), or the data key of its tenant (2). */
export type EnvelopeFormat = 1 | 2

/** A root key or a data key as envelopes name it. */
export interface RootKey {
  readonly id: number
  readonly secret: KeyObject
}

/** Why an envelope does not open: `format` and `key_unavailable` are found before any cryptography. */
export type OpenFailure = "format" | "key_unavailable" | "commitment" | "tag"

/**
 * Remembers the derived keys of envelopes that were opened, so that opening one again costs one AES pass.
 *
 * An entry is found only by the very header, context and commitment that it was verified for. It holds keys, never
 * plaintext, and belongs to one ring: a ring that changes takes a new cache, and a data key that is dropped is forgotten with what came of it.
 */
export class DerivedKeyCache {
  readonly #capacity: number
  readonly #entries = new Map<string, Remembered>()
  #newest: Remembered | undefined

  constructor(capacity = 4096) {
    this.#capacity = capacity
  }

  /** How many keys are held. */
  get size(): number {
    return this.#entries.size
  }

  /** Finds what a header and a commitment were verified with in this very context, and makes it the most recent. */
  get(header: Buffer, commitment: Buffer, context: EnvelopeContext): Remembered | undefined {
    const name = commitment.toString("latin1")
    const found = this.#entries.get(name)
    if (found === undefined || !isSame(found.context, context) || !header.equals(found.header)) return undefined
    // Who is the least recent matters when there may soon be no room.
    if (found !== this.#newest && this.#entries.size > this.#capacity / 2) {
      this.#entries.delete(name)
      this.#entries.set(name, found)
      this.#newest = found
    }
    return found
  }

  /** Remembers a key that was derived from `root`, in place of the least recent one if there is no room. */
  set(header: Buffer, commitment: Buffer, context: EnvelopeContext, verified: Verified, root: RootKey): void {
    if (this.#capacity <= 0) return
    const oldest = this.#entries.size >= this.#capacity ? this.#entries.keys().next().value : undefined
    if (oldest !== undefined) this.#entries.delete(oldest)
    // Copies: a view would keep the whole pool that it was cut from.
    this.#newest = {
      header: new Uint8Array(header),
      context: { ...context },
      key: verified.key,
      aad: new Uint8Array(verified.aad),
      root
    }
    this.#entries.set(commitment.toString("latin1"), this.#newest)
  }

  /** Drops every key that was derived from `root`. */
  forget(root: RootKey): void {
    for (const [name, entry] of this.#entries) if (entry.root === root) this.#entries.delete(name)
    if (this.#newest?.root === root) this.#newest = undefined
  }
}

/** The key of an envelope and the data that is authenticated with it. */
interface Verified {
  readonly key: KeyObject
  readonly aad: Uint8Array
}

interface Remembered extends Verified {
  readonly header: Uint8Array
  readonly context: EnvelopeContext
  readonly root: RootKey
}

const isSame = (one: EnvelopeContext, other: EnvelopeContext): boolean =>
  one.generation === other.generation && one.field === other.field && one.row === other.row &&
  one.tenant === other.tenant && one.table === other.table && one.instance === other.instance

/** Encrypts under a key, with a fresh salt and nonce. */
export const seal = (
  root: RootKey,
  context: EnvelopeContext,
  plaintext: Uint8Array,
  format: EnvelopeFormat = 1
): Uint8Array => sealFresh(root, context, plaintext, formatOf(format))

/** Reads the id of the key that sealed an envelope, or undefined if the bytes are no envelope of the format. Not authenticated. */
export const keyIdOf = (envelope: Uint8Array, format: EnvelopeFormat = 1): number | undefined => {
  const bytes = viewOf(envelope)
  return isEnvelope(bytes, format) ? bytes.readUInt32BE(layout.keyId) : undefined
}

/** Decrypts, if key, context and every byte are those of the sealing. The caller owns the plaintext and wipes it. */
export const open = (
  rootOf: (id: number) => RootKey | undefined,
  context: EnvelopeContext,
  envelope: Uint8Array,
  cache?: DerivedKeyCache,
  format: EnvelopeFormat = 1
): Result.Result<Buffer, OpenFailure> => {
  const bytes = viewOf(envelope)
  if (!isEnvelope(bytes, format)) return Result.fail("format")
  const root = rootOf(bytes.readUInt32BE(layout.keyId))
  if (root === undefined) return Result.fail("key_unavailable")

  const header = bytes.subarray(0, layout.commitment)
  const claimed = bytes.subarray(layout.commitment, layout.ciphertext)
  let verified: Verified | undefined = cache?.get(header, claimed, context)
  if (verified === undefined) {
    const aad = associatedData(header, context)
    const derived: Derived = derive(root.secret, bytes.subarray(layout.salt, layout.nonce), aad, formatOf(format))
    if (!timingSafeEqual(derived.commitment, claimed)) return Result.fail("commitment")
    verified = { key: derived.key, aad }
    cache?.set(header, claimed, context, verified, root)
  }

  const decipher = createDecipheriv("aes-256-gcm", verified.key, bytes.subarray(layout.nonce, layout.commitment), {
    authTagLength: layout.tagLength
  })
  decipher.setAAD(verified.aad)
  decipher.setAuthTag(bytes.subarray(bytes.length - layout.tagLength))
  const plaintext = decipher.update(bytes.subarray(layout.ciphertext, bytes.length - layout.tagLength))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    return Result.fail("tag")
  }
  return Result.succeed(plaintext)
}

const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const magics = { 1: format1.magic.readUInt32BE(0), 2: format2.magic.readUInt32BE(0) }

const formatOf = (format: EnvelopeFormat) => format === 1 ? format1 : format2

const isEnvelope = (bytes: Buffer, format: EnvelopeFormat): boolean =>
  bytes.length >= layout.overhead && bytes.readUInt32BE(0) === magics[format]
