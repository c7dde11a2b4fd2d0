import { Redacted, Result, Schema } from "effect"
import { createHmac, createSecretKey, type KeyObject } from "node:crypto"

/** A root key of the ring: the primary seals and opens, the others only open. */
export interface RingKey {
  readonly id: number
  readonly state: "primary" | "decrypt"
  readonly secret: KeyObject
  /** First 8 bytes of HMAC-SHA256(key, "kcv") in hex: tells whether two processes hold the same key, and nothing else. */
  readonly checkValue: string
}

/** The root keys that a process holds. An id that is not here opens nothing: to retire a key is to leave it out. */
export interface KeyRing {
  readonly primary: RingKey
  readonly keys: ReadonlyMap<number, RingKey>
}

/** Failure of reading a key ring. It names where the keys came from and which entry is wrong, never the value. */
export class KeyRingError extends Schema.TaggedError<KeyRingError>("valetkey/KeyRingError")("KeyRingError", {
  field: Schema.String,
  entry: Schema.Int,
  problem: Schema.Literals(["empty", "syntax", "id", "duplicate_id", "encoding", "length", "weak"])
}) {
  readonly code = "invalid_key_ring"
  override get message() {
    return `${this.field}${this.problem === "empty" ? "" : ` entry ${this.entry}`}: ${sentences[this.problem]}`
  }
}

const sentences = {
  empty: "it holds no key. Write id:base64, for example 1 and the output of `openssl rand -base64 32`.",
  syntax: "it is not id:base64. Write a number, a colon and the key.",
  id: "the id is not a whole number from 0 to 4294967295.",
  duplicate_id: "the id is used twice. Give every key an id of its own.",
  encoding: "the key is not base64. Generate one with `openssl rand -base64 32`.",
  length: "the key is not exactly 32 bytes. Generate one with `openssl rand -base64 32`.",
  weak: "the key is not random. Generate one with `openssl rand -base64 32`."
} as const

/**
 * Decodes `id:base64[,id:base64...]`; the first key is primary. A line break separates entries too, so that a key file
 * can hold one key a line.
 */
export const parse = (keys: Redacted.Redacted, field = "VALETKEY_KEYS"): Result.Result<KeyRing, KeyRingError> => {
  const text = Redacted.value(keys).trim()
  if (text === "") return Result.fail(new KeyRingError({ field, entry: 0, problem: "empty" }))
  const ring = new Map<number, RingKey>()
  let primary: RingKey | undefined
  for (const [index, part] of text.split(/,|\r?\n/).entries()) {
    const key = parseEntry(part.trim(), primary === undefined ? "primary" : "decrypt")
    const problem = typeof key === "string" ? key : ring.has(key.id) ? "duplicate_id" : undefined
    if (typeof key === "string" || problem !== undefined) {
      return Result.fail(new KeyRingError({ field, entry: index + 1, problem: problem ?? "syntax" }))
    }
    primary ??= key
    ring.set(key.id, key)
  }
  return Result.succeed({ primary: primary!, keys: ring })
}

const parseEntry = (entry: string, state: RingKey["state"]): RingKey | KeyRingError["problem"] => {
  const separator = entry.indexOf(":")
  if (separator < 0) return "syntax"
  const digits = entry.slice(0, separator)
  const id = /^(0|[1-9]\d{0,9})$/.test(digits) ? Number(digits) : Number.NaN
  if (!(id <= 0xffffffff)) return "id"
  const encoded = entry.slice(separator + 1)
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return "encoding"
  const bytes = Buffer.from(encoded, "base64")
  try {
    if (bytes.length !== 32) return "length"
    // The last character carries four bits; any other spelling of them is a damaged key.
    if (bytes.toString("base64") !== `${encoded.replace(/=+$/, "")}=`) return "encoding"
    if (isWeak(bytes)) return "weak"
    const secret = createSecretKey(bytes)
    return { id, state, secret, checkValue: createHmac("sha256", secret).update("kcv").digest("hex").slice(0, 16) }
  } finally {
    bytes.fill(0)
  }
}

/** Finds keys that nobody drew at random: few different bytes, a repeated pattern, a count up or down. */
const isWeak = (bytes: Buffer): boolean => {
  if (new Set(bytes).size < 16) return true
  for (let period = 1; period <= 16; period++) {
    if (bytes.subarray(period).equals(bytes.subarray(0, 32 - period))) return true
  }
  const step = (bytes[1]! - bytes[0]!) & 0xff
  return bytes.every((byte, index) => index === 0 || ((byte - bytes[index - 1]!) & 0xff) === step)
}
