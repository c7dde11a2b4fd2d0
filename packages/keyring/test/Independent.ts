/** A second reader of both formats of envelopes, written from FORMAT.md on WebCrypto alone. It shares no code with the package. */
export interface Context {
  readonly instance: string
  readonly table: string
  readonly tenant: string
  readonly row: string
  readonly field: string
  readonly generation: number
}

const { subtle } = globalThis.crypto
const utf8 = new TextEncoder()

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0)
  return out
}

const lp = (...fields: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> =>
  concat(...fields.flatMap((field) => {
    const length = new Uint8Array(4)
    new DataView(length.buffer).setUint32(0, field.length, false)
    return [length, field]
  }))

/** The key and the commitment of one envelope. */
export const derive = async (
  rootKey: Uint8Array,
  context: Context,
  envelope: Uint8Array,
  format: 1 | 2 = 1
): Promise<{ readonly okm: Uint8Array<ArrayBuffer>; readonly aad: Uint8Array<ArrayBuffer> }> => {
  const bytes = Uint8Array.from(envelope)
  const names = ["instance", "table", "tenant", "row", "field", "generation"] as const
  const aad = lp(bytes.slice(0, 52), lp(...names.map((name) => utf8.encode(`${context[name]}`))))
  const info = concat(
    utf8.encode(`valetkey/envelope/v${format}\u0000`),
    new Uint8Array(await subtle.digest("SHA-256", aad))
  )
  const root = await subtle.importKey("raw", Uint8Array.from(rootKey), "HKDF", false, ["deriveBits"])
  const salt = bytes.slice(8, 40)
  return { aad, okm: new Uint8Array(await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, root, 512)) }
}

/**
 * Opens an envelope with one of the keys, or fails with the class of the failure as its message. Format 1 takes root keys
 * by id, format 2 the data keys of the tenant by id.
 */
export const decrypt = async (
  rootKeys: Readonly<Record<string, Uint8Array>>,
  context: Context,
  envelope: Uint8Array,
  format: 1 | 2 = 1
): Promise<Uint8Array> => {
  const bytes = Uint8Array.from(envelope)
  if (bytes.length < 100 || String.fromCharCode(...bytes.slice(0, 4)) !== `VK0${format}`) throw new Error("format")
  const rootKey = rootKeys[String(new DataView(bytes.buffer).getUint32(4, false))]
  if (rootKey === undefined) throw new Error("key_unavailable")
  const { aad, okm } = await derive(rootKey, context, bytes, format)
  if (bytes.slice(52, 84).some((byte, index) => byte !== okm[32 + index])) throw new Error("commitment")
  const key = await subtle.importKey("raw", okm.slice(0, 32), "AES-GCM", false, ["decrypt"])
  const algorithm = { name: "AES-GCM", iv: bytes.slice(40, 52), additionalData: aad, tagLength: 128 }
  return subtle.decrypt(algorithm, key, bytes.slice(84)).then((plain) => new Uint8Array(plain), () => {
    throw new Error("tag")
  })
}
