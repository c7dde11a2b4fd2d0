interface Needle<A> {
  readonly bytes: Uint8Array
  readonly value: A
}

export interface Match<A> {
  readonly offset: number
  readonly value: A
}

// Shorter than the shortest needle: base64 of twelve characters keeps twelve of its sixteen in the worst alignment.
const window = 12
const block = 3

/**
 * Finds any of many needles in one pass (Wu and Manber): the table says how far the window may move when it ends
 * with a given block of three bytes, so that most of a file is never looked at.
 */
export class NeedleIndex<A> {
  private readonly shift = new Uint8Array(1 << 24).fill(window - block + 1)
  private readonly needles = new Map<string, Array<Needle<A>>>()

  add(bytes: Uint8Array, value: A): void {
    if (bytes.length < window) throw new Error("The needle is shorter than the window")
    for (let end = block; end <= window; end++) {
      const key = blockAt(bytes, end)
      this.shift[key] = Math.min(this.shift[key] ?? 0, window - end)
    }
    const head = latin1(bytes, 0)
    const same = this.needles.get(head)
    if (same === undefined) this.needles.set(head, [{ bytes, value }])
    else same.push({ bytes, value })
  }

  search(haystack: Uint8Array): ReadonlyArray<Match<A>> {
    const { shift } = this
    const matches: Array<Match<A>> = []
    let end = window
    while (end <= haystack.length) {
      const step = shift[blockAt(haystack, end)] ?? 1
      if (step > 0) {
        end += step
        continue
      }
      const offset = end - window
      for (const { bytes, value } of this.needles.get(latin1(haystack, offset)) ?? []) {
        if (startsWith(haystack, offset, bytes)) matches.push({ offset, value })
      }
      end++
    }
    return matches
  }
}

const blockAt = (bytes: Uint8Array, end: number): number =>
  ((bytes[end - 3] ?? 0) << 16) | ((bytes[end - 2] ?? 0) << 8) | (bytes[end - 1] ?? 0)

const latin1 = (bytes: Uint8Array, offset: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + offset, window).toString("latin1")

const startsWith = (haystack: Uint8Array, offset: number, needle: Uint8Array): boolean => {
  if (offset + needle.length > haystack.length) return false
  for (let i = 0; i < needle.length; i++) {
    if (haystack[offset + i] !== needle[i]) return false
  }
  return true
}
