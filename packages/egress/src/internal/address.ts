import { isIP } from "node:net"

/** Blocks of the IANA IPv4 special-purpose registry, multicast and class E: `[network, prefix length]`. */
const special: ReadonlyArray<readonly [string, number]> = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4]
]

const specialBits = special.map(([network, length]) => [toUint32(parse4(network)), length] as const)

/** Tells whether an address literal is global unicast, looking through every known way to embed IPv4 in IPv6. */
export const isGlobal = (literal: string): boolean => {
  const bytes = parse(literal)
  if (bytes === undefined) return false
  return bytes.length === 4 ? isGlobal4(bytes) : isGlobal6(bytes)
}

/** Tells whether an address literal is in 127.0.0.0/8 or is ::1. Embedded forms do not count. */
export const isLoopback = (literal: string): boolean => {
  const bytes = parse(literal)
  if (bytes === undefined) return false
  return bytes.length === 4 ? bytes[0] === 127 : bytes.every((byte, index) => byte === (index === 15 ? 1 : 0))
}

const parse = (literal: string): ReadonlyArray<number> | undefined => {
  const family = isIP(literal)
  return family === 4 ? parse4(literal) : family === 6 ? parse6(literal) : undefined
}

function parse4(literal: string): ReadonlyArray<number> {
  return literal.split(".").map(Number)
}

const parse6 = (literal: string): ReadonlyArray<number> => {
  const [withoutZone = ""] = literal.split("%")
  const [left = "", right] = withoutZone.split("::")
  const head = groups(left)
  if (right === undefined) return head
  const tail = groups(right)
  return [...head, ...new Array<number>(16 - head.length - tail.length).fill(0), ...tail]
}

const groups = (text: string): ReadonlyArray<number> =>
  text === "" ? [] : text.split(":").flatMap((group) => {
    if (group.includes(".")) return parse4(group)
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })

function toUint32(bytes: ReadonlyArray<number>): number {
  return bytes.reduce((value, byte) => value * 256 + byte, 0)
}

const isGlobal4 = (bytes: ReadonlyArray<number>): boolean => {
  const value = toUint32(bytes)
  return !specialBits.some(([network, length]) => {
    const size = 2 ** (32 - length)
    return value >= network && value < network + size
  })
}

const isGlobal6 = (bytes: ReadonlyArray<number>): boolean => {
  const carried = translated(bytes)
  if (carried !== undefined) return carried.every(isGlobal4)
  if (!startsWith(bytes, [0x20], 3)) return false
  if (startsWith(bytes, [0x20, 0x01, 0x00], 23)) return false // IETF protocol assignments, ORCHID, benchmarking
  if (startsWith(bytes, [0x20, 0x01, 0x0d, 0xb8], 32)) return false // documentation
  if (startsWith(bytes, [0x3f, 0xff, 0x00], 20)) return false // documentation
  const isatap = (bytes[8] === 0 || bytes[8] === 2) && matches(bytes, 9, [0x00, 0x5e, 0xfe])
  return !isatap || isGlobal4(bytes.slice(12))
}

/** The IPv4 addresses that packets to this address may end at, for forms whose prefix alone says nothing. */
const translated = (bytes: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<number>> | undefined => {
  const last = bytes.slice(12)
  const zeros = (count: number) => bytes.slice(0, count).every((byte) => byte === 0)
  if (zeros(12)) return [last] // ::a.b.c.d, and with it :: and ::1
  if (zeros(10) && matches(bytes, 10, [0xff, 0xff])) return [last] // ::ffff:a.b.c.d
  if (zeros(8) && matches(bytes, 8, [0xff, 0xff, 0, 0])) return [last] // ::ffff:0:a.b.c.d
  if (startsWith(bytes, [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0], 96)) return [last] // NAT64
  if (startsWith(bytes, [0x00, 0x64, 0xff, 0x9b, 0x00, 0x01], 48)) {
    // Local NAT64 (RFC 8215): the length of the operator's prefix is unknown, so every place of RFC 6052 counts.
    return [
      [bytes[6]!, bytes[7]!, bytes[9]!, bytes[10]!],
      [bytes[7]!, bytes[9]!, bytes[10]!, bytes[11]!],
      bytes.slice(9, 13),
      last
    ]
  }
  if (startsWith(bytes, [0x20, 0x02], 16)) return [bytes.slice(2, 6)] // 6to4
  if (startsWith(bytes, [0x20, 0x01, 0, 0], 32)) { // Teredo: the server, and the client with its bits flipped
    return [bytes.slice(4, 8), last.map((byte) => byte ^ 0xff)]
  }
  return undefined
}

const startsWith = (bytes: ReadonlyArray<number>, prefix: ReadonlyArray<number>, bits: number): boolean => {
  for (let bit = 0; bit < bits; bit++) {
    const mask = 0x80 >> (bit % 8)
    const index = bit >> 3
    if (((bytes[index] ?? 0) & mask) !== ((prefix[index] ?? 0) & mask)) return false
  }
  return true
}

const matches = (bytes: ReadonlyArray<number>, at: number, expected: ReadonlyArray<number>): boolean =>
  expected.every((byte, index) => bytes[at + index] === byte)
