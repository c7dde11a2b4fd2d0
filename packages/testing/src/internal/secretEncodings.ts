/** Every way a piece of a secret can stand in a file, as bytes to look for. */
export const encodings = (text: string): ReadonlyArray<readonly [encoding: string, needle: Buffer]> => {
  const raw = Buffer.from(text)
  const each = (format: (byte: number) => string) => Buffer.from([...raw].map(format).join(""))
  const hex = (byte: number) => byte.toString(16).padStart(2, "0")
  const found = new Map<string, readonly [string, Buffer]>()
  const add = (encoding: string, needle: Buffer) => {
    const key = needle.toString("latin1")
    if (!found.has(key)) found.set(key, [encoding, needle])
  }
  add("raw", raw)
  for (const alignment of [0, 1, 2]) {
    const inner = base64Inner(raw, alignment)
    add("base64", Buffer.from(inner))
    add("base64url", Buffer.from(inner.replaceAll("+", "-").replaceAll("/", "_")))
  }
  add("hex", each(hex))
  add("hex", each((byte) => hex(byte).toUpperCase()))
  add("percent", Buffer.from(encodeURIComponent(text)))
  add("percent", each((byte) => `%${hex(byte).toUpperCase()}`))
  add("percent", each((byte) => `%${hex(byte)}`))
  add("json", each((byte) => `\\u00${hex(byte)}`))
  add("json", each((byte) => `\\u00${hex(byte).toUpperCase()}`))
  const utf16 = Buffer.from(text, "utf16le")
  add("utf16le", utf16)
  add("utf16be", Buffer.from(utf16).swap16())
  return [...found.values()]
}

/** The base64 characters that depend on `raw` alone when it starts at the given position modulo 3. */
const base64Inner = (raw: Buffer, alignment: number): string => {
  const skip = (3 - alignment) % 3
  const whole = raw.subarray(skip, raw.length - ((raw.length - skip) % 3))
  return whole.toString("base64")
}
