import { createCipheriv } from "node:crypto"

const one = 1n << 127n
const reduction = 0xe1n << 120n

/** Multiplies in the field of GHASH (SP 800-38D §6.3). */
const times = (x: bigint, y: bigint): bigint => {
  let product = 0n
  for (let bit = 127n, v = y; bit >= 0n; bit--) {
    if ((x >> bit) & 1n) product ^= v
    v = v & 1n ? (v >> 1n) ^ reduction : v >> 1n
  }
  return product
}

/** x^(2^128 - 2). */
const inverse = (x: bigint): bigint => {
  let result = one
  let square = x
  for (let bit = 1; bit < 128; bit++) {
    square = times(square, square)
    result = times(result, square)
  }
  return result
}

const toBlock = (bytes: Uint8Array): bigint =>
  BigInt(`0x${Buffer.concat([bytes, Buffer.alloc(16)]).toString("hex", 0, 16)}`)
const toBytes = (block: bigint): Buffer => Buffer.from(block.toString(16).padStart(32, "0"), "hex")

const encryptBlock = (key: Uint8Array, block: Uint8Array): bigint =>
  toBlock(createCipheriv("aes-256-ecb", key, null).setAutoPadding(false).update(block))

/** Finds one block of ciphertext and a tag that AES-256-GCM accepts under both keys. */
export const collide = (
  keys: readonly [Uint8Array, Uint8Array],
  nonce: Uint8Array,
  aad: Uint8Array
): { readonly ciphertext: Buffer; readonly tag: Buffer } => {
  const lengths = (BigInt(aad.length * 8) << 64n) | 128n
  const parts = keys.map((key) => {
    const h = encryptBlock(key, Buffer.alloc(16))
    let y = 0n
    for (let at = 0; at < aad.length; at += 16) y = times(y ^ toBlock(aad.subarray(at, at + 16)), h)
    const mask = encryptBlock(key, Buffer.concat([nonce, Buffer.from([0, 0, 0, 1])]))
    const square = times(h, h)
    return { square, rest: times(y, square) ^ times(lengths, h) ^ mask }
  })
  const [first, second] = parts as [typeof parts[number], typeof parts[number]]
  const ciphertext = times(first.rest ^ second.rest, inverse(first.square ^ second.square))
  return { ciphertext: toBytes(ciphertext), tag: toBytes(times(ciphertext, first.square) ^ first.rest) }
}
