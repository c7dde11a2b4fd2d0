import { createCipheriv, createSecretKey, hash, hkdfSync, type KeyObject } from "node:crypto"
import type { EnvelopeContext } from "../Envelope.ts"

/** Offsets and lengths of envelope v1; FORMAT.md has the table. */
export const layout = {
  magic: Buffer.from("VK01", "ascii"),
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

const label = Buffer.from("valetkey/envelope/v1\0", "ascii")

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
  const { field, generation, instance, row, table, tenant } = context
  const fields = [instance, table, tenant, row, field, String(generation)]
  const lengths = fields.map((text) => Buffer.byteLength(text, "utf8"))
  const size = lengths.reduce((sum, length) => sum + 4 + length, 0)
  const out = Buffer.allocUnsafe(8 + header.length + size)
  let at = out.writeUInt32BE(header.length, 0)
  at += header.copy(out, at)
  at = out.writeUInt32BE(size, at)
  for (let index = 0; index < fields.length; index++) {
    at = out.writeUInt32BE(lengths[index]!, at)
    at += out.write(fields[index]!, at, "utf8")
  }
  return out
}

/** Derives the key of one envelope from a root key. */
export const derive = (root: KeyObject, salt: Buffer, aad: Buffer): Derived => {
  const info = Buffer.concat([label, hash("sha256", aad, "buffer")])
  const okm = Buffer.from(hkdfSync("sha256", root, salt, info, 64))
  const key = createSecretKey(okm.subarray(0, 32))
  const commitment = Buffer.from(okm.subarray(32))
  okm.fill(0)
  return { key, commitment }
}

/**
 * Seals with a salt and a nonce of the caller's choice, for the published vectors.
 *
 * Never call this with anything but fresh random bytes outside a test: a repeated pair gives the plaintexts away.
 */
export const sealWithUnsafe = (
  root: { readonly id: number; readonly secret: KeyObject },
  context: EnvelopeContext,
  plaintext: Uint8Array,
  { nonce, salt }: { readonly salt: Uint8Array; readonly nonce: Uint8Array }
): Uint8Array => {
  const out = Buffer.allocUnsafeSlow(layout.overhead + plaintext.byteLength)
  layout.magic.copy(out)
  out.writeUInt32BE(root.id, layout.keyId)
  out.set(salt, layout.salt)
  out.set(nonce, layout.nonce)
  const aad = associatedData(out.subarray(0, layout.commitment), context)
  const { commitment, key } = derive(root.secret, out.subarray(layout.salt, layout.nonce), aad)
  out.set(commitment, layout.commitment)
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: layout.tagLength })
  cipher.setAAD(aad)
  out.set(cipher.update(plaintext), layout.ciphertext)
  cipher.final()
  out.set(cipher.getAuthTag(), out.length - layout.tagLength)
  return new Uint8Array(out.buffer, out.byteOffset, out.byteLength)
}
