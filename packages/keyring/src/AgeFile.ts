import { createCipheriv, randomBytes, scrypt } from "node:crypto"

// The library is loaded by who seals or opens a file and by nobody else: a start does not wait for it.
const load = () => import("age-encryption")

/** Why an age file does not open. */
export type AgeFault =
  /** The bytes are no age file, armored or not. */
  | "not_age"
  /** No passphrase or identity that was given belongs to the file. */
  | "wrong_key"
  /** An identity is none. */
  | "invalid_identity"
  /** The file was cut off or altered. */
  | "damaged"

/** Failure of opening an age file. No plaintext leaves with it. */
export class AgeFileError extends Error {
  override readonly name = "AgeFileError"
  readonly fault: AgeFault
  constructor(fault: AgeFault) {
    super(fault)
    this.fault = fault
  }
}

/** What opens an age file. */
export type AgeKey =
  | { readonly _tag: "Passphrase"; readonly passphrase: string }
  | { readonly _tag: "Identities"; readonly identities: ReadonlyArray<string> }

/** Encrypts to a recipient (`age1…`). Rejects when it is none. */
export const sealTo = async (plaintext: Uint8Array, recipient: string): Promise<Uint8Array> => {
  const { Encrypter } = await load()
  const encrypter = new Encrypter()
  encrypter.addRecipient(recipient)
  return encrypter.encrypt(plaintext)
}

/** Encrypts under a passphrase with the work factor that age itself takes. */
export const sealUnder = async (plaintext: Uint8Array, passphrase: string): Promise<Uint8Array> => {
  const { Encrypter, Stanza } = await load()
  const encrypter = new Encrypter()
  encrypter.addRecipient({
    // The library's own derivation would hold the event loop, and so every other request, for about a second.
    wrapFileKey: async (fileKey) => {
      const salt = randomBytes(16)
      const body = wrap(fileKey, await derive(passphrase, salt))
      return [new Stanza(["scrypt", salt.toString("base64").replace(/=+$/, ""), String(workFactor)], body)]
    }
  })
  return encrypter.encrypt(plaintext)
}

/** Decrypts a whole age file. Rejects with `AgeFileError`; nothing of a file that is not whole comes out. */
export const open = async (file: Uint8Array, key: AgeKey): Promise<Uint8Array> => {
  const { armor, Decrypter } = await load()
  const decrypter = new Decrypter()
  if (key._tag === "Passphrase") decrypter.addPassphrase(key.passphrase)
  else {
    try {
      for (const identity of key.identities) decrypter.addIdentity(identity)
    } catch {
      throw new AgeFileError("invalid_identity")
    }
  }
  const text = Buffer.from(file.buffer, file.byteOffset, file.byteLength).toString("latin1")
  let bytes = file
  if (text.trimStart().startsWith("-----BEGIN AGE ENCRYPTED FILE-----")) {
    try {
      bytes = armor.decode(text)
    } catch {
      throw new AgeFileError("damaged")
    }
  } else if (!text.startsWith("age-encryption.org/v1\n")) throw new AgeFileError("not_age")
  try {
    return await decrypter.decrypt(bytes)
  } catch (error) {
    throw new AgeFileError(
      error instanceof Error && error.message.startsWith("no identity matched") ? "wrong_key" : "damaged"
    )
  }
}

/** Base-2 logarithm of the iterations: a second of work and 256 MiB of memory. */
const workFactor = 18

/** The scrypt recipient type of the age format: N = 2^workFactor, r = 8, p = 1, and a labelled salt. */
const derive = (passphrase: string, salt: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const labelled = Buffer.concat([Buffer.from("age-encryption.org/v1/scrypt"), salt])
    const cost = { N: 2 ** workFactor, r: 8, p: 1, maxmem: 2 ** (workFactor + 11) }
    scrypt(passphrase, labelled, 32, cost, (error, derived) => error === null ? resolve(derived) : reject(error))
  })

/** ChaCha20-Poly1305 with a zero nonce: each derived key encrypts one file key. */
const wrap = (fileKey: Uint8Array, key: Buffer): Uint8Array => {
  const cipher = createCipheriv("chacha20-poly1305", key, Buffer.alloc(12), { authTagLength: 16 })
  const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()])
  key.fill(0)
  return body
}
