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
  problem: Schema.Literals(["empty", "syntax", "id", "duplicate_id", "encoding", "length", "weak", "unwrapped"])
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
  weak: "the key is not random. Generate one with `openssl rand -base64 32`.",
  unwrapped: "it is not id:vault:v1:…, a key that the key service wrapped. Make one with `valetkey keys add`."
} as const

/**
 * Decodes `id:base64[,id:base64...]`; the first key is primary. A line break separates entries too, so that a key file
 * can hold one key a line.
 */
export const parse = (keys: Redacted.Redacted, field = "VALETKEY_KEYS"): Result.Result<KeyRing, KeyRingError> =>
  Result.map(
    entriesOf(keys, field, (id, encoded) => {
      const bytes = decode(encoded)
      return bytes === undefined ? "encoding" : keyOf(id, bytes)
    }),
    ringOf
  )

/** Decodes `id:value[,id:value...]`; `read` makes something of each value, or names what is wrong with it. */
export const entriesOf = <A extends object>(
  text: Redacted.Redacted,
  field: string,
  read: (id: number, value: string) => A | KeyRingError["problem"]
): Result.Result<ReadonlyArray<A>, KeyRingError> => {
  const trimmed = Redacted.value(text).trim()
  if (trimmed === "") return Result.fail(new KeyRingError({ field, entry: 0, problem: "empty" }))
  const found = new Map<number, A>()
  // No regular expression sees a key: V8 keeps the text that the last one matched.
  for (const [index, part] of trimmed.replaceAll("\n", ",").split(",").entries()) {
    const refuse = (problem: KeyRingError["problem"]) =>
      Result.fail(new KeyRingError({ field, entry: index + 1, problem }))
    const entry = part.trim()
    const separator = entry.indexOf(":")
    if (separator < 0) return refuse("syntax")
    const digits = entry.slice(0, separator)
    const id = /^(0|[1-9]\d{0,9})$/.test(digits) ? Number(digits) : Number.NaN
    if (!(id <= 0xffffffff)) return refuse("id")
    const value = read(id, entry.slice(separator + 1))
    if (typeof value === "string") return refuse(value)
    if (found.has(id)) return refuse("duplicate_id")
    found.set(id, value)
  }
  return Result.succeed([...found.values()])
}

/** Judges the bytes of a key and takes them over: they are overwritten, whatever comes of it. */
export const keyOf = (id: number, bytes: Buffer): Omit<RingKey, "state"> | "length" | "weak" => {
  try {
    if (bytes.length !== 32) return "length"
    if (isWeak(bytes)) return "weak"
    const secret = createSecretKey(bytes)
    return { id, secret, checkValue: createHmac("sha256", secret).update("kcv").digest("hex").slice(0, 16) }
  } finally {
    bytes.fill(0)
  }
}

/** Makes a ring of at least one key; the first is primary. */
export const ringOf = (keys: ReadonlyArray<Omit<RingKey, "state">>): KeyRing => {
  const ring = keys.map((key, index): RingKey => ({ ...key, state: index === 0 ? "primary" : "decrypt" }))
  return { primary: ring[0]!, keys: new Map(ring.map((key) => [key.id, key])) }
}

/** Whether two rings have the same keys in the same order. */
export const equals = (one: KeyRing, other: KeyRing): boolean => {
  const others = [...other.keys.values()]
  return one.keys.size === others.length &&
    [...one.keys.values()].every(({ id, secret }, index) =>
      id === others[index]?.id && secret.equals(others[index].secret)
    )
}

/** Decodes base64, with or without its padding. */
const decode = (encoded: string): Buffer | undefined => {
  const digits = encoded.endsWith("==") ? encoded.slice(0, -2) : encoded.endsWith("=") ? encoded.slice(0, -1) : encoded
  const bytes = Buffer.from(digits, "base64")
  // The last character of a key carries four bits; any other spelling of them is a damaged key.
  const again = bytes.toString("base64")
  if (digits !== "" && again.startsWith(digits) && again.length - digits.length < 3) return bytes
  bytes.fill(0)
  return undefined
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
