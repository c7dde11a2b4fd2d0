import * as Envelope from "@valetkey/keyring/Envelope"
import { Result } from "effect"
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, randomBytes } from "node:crypto"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"

const pairs = 5000
const plaintext = randomBytes(1024)
const root = { id: 1, secret: createSecretKey(randomBytes(32)) }

const associated = randomBytes(190)

const context: Envelope.EnvelopeContext = {
  instance: "bench",
  table: "connections",
  tenant: "acme",
  row: "0190c7e2/notes/0190c7e2-a5b8-7c3e-9d0f-1a2b3c4d5e6f",
  field: "access_token",
  generation: 7
}

/** Sealing and opening 1 kB, beside Node's synchronous HKDF and AES-256-GCM on the same sizes of keys, data and AAD. */
export const sealing = async (rounds: number): Promise<Section> => ({
  title: "seal and open 1 kB",
  unit: "µs for both",
  figures: await race(rounds, [["bare HKDF and AES-256-GCM", () => time(bare)], ["envelope", () => time(envelope)]]),
  limits: { envelope: { atMost: 1.3 } }
})

const time = async (pair: () => Buffer): Promise<number> => {
  const begun = performance.now()
  for (let n = 0; n < pairs; n++) {
    if (pair().length !== plaintext.length) throw new Error("the plaintext did not come back")
  }
  return (performance.now() - begun) * 1000 / pairs
}

const envelope = (): Buffer =>
  Result.getOrThrow(Envelope.open(() => root, context, Envelope.seal(root, context, plaintext)))

const bare = (): Buffer => {
  const salt = randomBytes(32)
  const nonce = randomBytes(12)
  const cipher = createCipheriv("aes-256-gcm", derive(salt), nonce, { authTagLength: 16 })
  cipher.setAAD(associated)
  const sealed = Buffer.concat([salt, nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  const decipher = createDecipheriv("aes-256-gcm", derive(sealed.subarray(0, 32)), sealed.subarray(32, 44), {
    authTagLength: 16
  })
  decipher.setAAD(associated)
  decipher.setAuthTag(sealed.subarray(-16))
  return Buffer.concat([decipher.update(sealed.subarray(44, -16)), decipher.final()])
}

const derive = (salt: Uint8Array) =>
  createSecretKey(Buffer.from(hkdfSync("sha256", root.secret, salt, "valetkey/bench", 64), 0, 32))
