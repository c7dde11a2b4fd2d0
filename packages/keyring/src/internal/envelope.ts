import { createCipheriv, createSecretKey, hash, hkdfSync, type KeyObject, randomFillSync } from "node:crypto"
import type { EnvelopeContext } from "../Envelope.ts"

/** Offsets and lengths of both formats; FORMAT.md has the table. */
export const layout = {
  keyId: 4,
  salt: 8,
  nonce: 40,
  commitment: 52,
  ciphertext: 84,
  saltLength: 32,
  nonceLength: 12,
  commitmentLength: 32,
  tagLength: 16,
  overhead: 100
} as const

/** What tells the formats apart: the magic, and the label that keeps their keys apart. Format 1 is under a root key, format 2 under a data key. */
export interface Format {
  readonly magic: Buffer
  /** The label of the derivation, and room for a digest. Everything here is synchronous, so one buffer serves every call. */
  readonly info: Buffer
  readonly label: number
}

const formatOf = (version: 1 | 2): Format => {
  const label = Buffer.from(`valetkey/envelope/v${version}\0`, "ascii")
  return {
    magic: Buffer.from(`VK0${version}`, "ascii"),
    info: Buffer.concat([label, Buffer.alloc(32)]),
    label: label.length
  }
}

/** The format of envelopes under root keys. */
export const format1 = formatOf(1)

/** The format of envelopes under data keys of tenants. */
export const format2 = formatOf(2)

/** The key of one envelope, and the commitment to it that the envelope carries. */
export interface Derived {
  readonly key: KeyObject
  readonly commitment: Buffer
}

/**
 * The authenticated data of an envelope: its header and where it belongs.
 *
 * Every field stands after its length as u32, big endian, so that no two different contexts give the same bytes.
 */
export const associatedData = (header: Buffer, context: EnvelopeContext): Buffer => {
  const { field, instance, row, table, tenant } = context
  const generation = String(context.generation)
  // No text takes more than three bytes for each of its UTF-16 units.
  const room = 32 + header.length + 3 * (instance.length + table.length + tenant.length + row.length + field.length +
        generation.length)
  const out = Buffer.allocUnsafe(room)
  const start = 8 + header.length
  out.writeUInt32BE(header.length, 0)
  header.copy(out, 4)
  let at = append(out, start, instance)
  at = append(out, at, table)
  at = append(out, at, tenant)
  at = append(out, at, row)
  at = append(out, at, field)
  at = append(out, at, generation)
  out.writeUInt32BE(at - start, start - 4)
  return out.subarray(0, at)
}

const append = (out: Buffer, at: number, text: string): number => {
  const length = out.write(text, at + 4, "utf8")
  out.writeUInt32BE(length, at)
  return at + 4 + length
}

/** Derives the key of one envelope from a root key or a data key. */
export const derive = (root: KeyObject, salt: Buffer, aad: Buffer, { info, label }: Format = format1): Derived => {
  info.set(hash("sha256", aad, "buffer"), label)
  const okm = Buffer.from(hkdfSync("sha256", root, salt, info, 64))
  const key = createSecretKey(okm.subarray(0, 32))
  const commitment = Buffer.from(okm.subarray(32))
  okm.fill(0)
  return { key, commitment }
}

/** Seals with a fresh salt and nonce. */
export const sealFresh = (
  root: Root,
  context: EnvelopeContext,
  plaintext: Uint8Array,
  format: Format
): Uint8Array => {
  const out = begin(root, plaintext, format)
  // The nonce stands right behind the salt: one call to the generator fills both.
  randomFillSync(out, layout.salt, layout.saltLength + layout.nonceLength)
  return finish(out, root, context, plaintext, format)
}

/**
 * Seals with a salt and a nonce of the caller's choice, for the published vectors.
 *
 * Never call this with anything but fresh random bytes outside a test: a repeated pair gives the plaintexts away.
 */
export const sealWithUnsafe = (
  root: Root,
  context: EnvelopeContext,
  plaintext: Uint8Array,
  { nonce, salt }: { readonly salt: Uint8Array; readonly nonce: Uint8Array },
  format: Format = format1
): Uint8Array => {
  const out = begin(root, plaintext, format)
  out.set(salt, layout.salt)
  out.set(nonce, layout.nonce)
  return finish(out, root, context, plaintext, format)
}

interface Root {
  readonly id: number
  readonly secret: KeyObject
}

const begin = (root: Root, plaintext: Uint8Array, { magic }: Format): Buffer => {
  const out = Buffer.allocUnsafeSlow(layout.overhead + plaintext.byteLength)
  magic.copy(out)
  out.writeUInt32BE(root.id, layout.keyId)
  return out
}

const finish = (
  out: Buffer,
  root: Root,
  context: EnvelopeContext,
  plaintext: Uint8Array,
  format: Format
): Uint8Array => {
  const aad = associatedData(out.subarray(0, layout.commitment), context)
  const { commitment, key } = derive(root.secret, out.subarray(layout.salt, layout.nonce), aad, format)
  out.set(commitment, layout.commitment)
  const cipher = createCipheriv("aes-256-gcm", key, out.subarray(layout.nonce, layout.commitment), {
    authTagLength: layout.tagLength
  })
  cipher.setAAD(aad)
  out.set(cipher.update(plaintext), layout.ciphertext)
  cipher.final()
  out.set(cipher.getAuthTag(), out.length - layout.tagLength)
  return new Uint8Array(out.buffer, out.byteOffset, out.byteLength)
}
