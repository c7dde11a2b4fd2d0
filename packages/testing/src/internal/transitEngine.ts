import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto"
import * as Canary from "../Canary.ts"

/** What an operation gives: the `data` of the answer, or the status and text of an error. */
export type Outcome = { readonly data: object } | { readonly status: number; readonly error: string }

interface TransitKey {
  readonly derived: boolean
  /** Bytes of each version, the first at 0. */
  readonly versions: Array<Buffer>
  minDecryptionVersion: number
}

type Body = Readonly<Record<string, unknown>>

/** One mounted transit engine with keys of type `aes256-gcm96`. */
export class TransitEngine {
  readonly #keys = new Map<string, TransitKey>()

  /** Runs `operation` of the API with the name that follows it in the path; undefined when there is no such path. */
  run(path: string, body: Body): Outcome | undefined {
    const [, operation, name = ""] = /^(.+?)\/([\w.-]+(?:\/(?:config|rotate))?)$/.exec(path) ?? []
    switch (operation) {
      case "keys":
        return this.#configure(name, body)
      case "encrypt":
        return this.#with(name, (key) => seal(key, body, base64(body["plaintext"])))
      case "decrypt":
        return this.#with(name, (key) => open(key, body))
      case "datakey/wrapped":
      case "datakey/plaintext":
        return this.#with(name, (key) => dataKey(key, body, operation.endsWith("plaintext")))
      default:
        return undefined
    }
  }

  #with(name: string, act: (key: TransitKey) => Outcome): Outcome {
    const key = this.#keys.get(name)
    return key === undefined ? refused("encryption key not found") : act(key)
  }

  #configure(path: string, body: Body): Outcome {
    const [name = "", verb] = path.split("/")
    const known = this.#keys.get(name)
    if (verb === undefined) {
      if (known === undefined) {
        this.#keys.set(name, {
          derived: body["derived"] === true,
          versions: [randomBytes(32)],
          minDecryptionVersion: 1
        })
      }
      return { data: {} }
    }
    return this.#with(name, (key) => {
      if (verb === "rotate") key.versions.push(randomBytes(32))
      else key.minDecryptionVersion = Number(body["min_decryption_version"] ?? key.minDecryptionVersion)
      return { data: {} }
    })
  }
}

const refused = (error: string): Outcome => ({ status: 400, error })

const base64 = (value: unknown): Buffer => Buffer.from(typeof value === "string" ? value : "", "base64")

const keyOf = (key: TransitKey, version: number, body: Body): Buffer | undefined => {
  const bytes = key.versions[version - 1]!
  if (!key.derived) return bytes
  const context = base64(body["context"])
  return context.length === 0 ? undefined : Buffer.from(hkdfSync("sha256", bytes, "", context, 32))
}

const noContext = () => refused("missing 'context' for key derivation")

/** `associated_data` is taken by encrypt and decrypt alone; a data key of Vault has none. */
const seal = (key: TransitKey, body: Body, plaintext: Buffer, associated = body["associated_data"]): Outcome => {
  const version = key.versions.length
  const secret = keyOf(key, version, body)
  if (secret === undefined) return noContext()
  const nonce = randomBytes(12)
  const cipher = createCipheriv("aes-256-gcm", secret, nonce).setAAD(base64(associated))
  const sealed = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  return { data: { ciphertext: `vault:v${version}:${sealed.toString("base64")}`, key_version: version } }
}

const open = (key: TransitKey, body: Body): Outcome => {
  const found = /^vault:v(\d+):([A-Za-z0-9+/=]+)$/.exec(String(body["ciphertext"] ?? ""))
  if (found === null) return refused("invalid ciphertext: no prefix")
  const version = Number(found[1])
  if (version < 1 || version > key.versions.length) return refused("invalid ciphertext: version is too new")
  if (version < key.minDecryptionVersion) {
    return refused("ciphertext or signature version is disallowed by policy (too old)")
  }
  const secret = keyOf(key, version, body)
  if (secret === undefined) return noContext()
  const bytes = base64(found[2])
  try {
    const decipher = createDecipheriv("aes-256-gcm", secret, bytes.subarray(0, 12), { authTagLength: 16 })
      .setAAD(base64(body["associated_data"]))
      .setAuthTag(bytes.subarray(-16))
    const plaintext = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString("base64")
    Canary.register("root_key", plaintext)
    return { data: { plaintext } }
  } catch {
    return refused("invalid ciphertext: unable to decrypt")
  }
}

const dataKey = (key: TransitKey, body: Body, shown: boolean): Outcome => {
  const bits = body["bits"] ?? 256
  if (bits !== 128 && bits !== 256 && bits !== 512) return refused("invalid bit length")
  const plaintext = randomBytes(bits / 8)
  const text = plaintext.toString("base64")
  Canary.register("root_key", text)
  const sealed = seal(key, body, plaintext, undefined)
  return "data" in sealed && shown ? { data: { ...sealed.data, plaintext: text } } : sealed
}
