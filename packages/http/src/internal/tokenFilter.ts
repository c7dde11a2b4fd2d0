/** Spellings in which an honest echo repeats a token: as it is, in a URL, in JSON with escaped slashes, in base64. */
const spellingsOf = (token: string): ReadonlyArray<Buffer> => {
  const bytes = Buffer.from(token)
  // What encodes to base64 together with something in front begins at one of three places.
  const based = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64").replace(/=+$/, "")
    // The first and the last characters depend on what stands around.
    return text.slice(Math.ceil((offset * 4) / 3), text.length - ((bytes.length + offset) % 3 === 0 ? 0 : 1))
  })
  const texts = new Set([
    token,
    encodeURIComponent(token),
    token.replaceAll("/", "\\/"),
    ...based.flatMap((text) => [text, text.replaceAll("+", "-").replaceAll("/", "_")])
  ])
  return [...texts].filter((text) => text === token || text.length >= 8).map((text) => Buffer.from(text)).sort((a, b) =>
    b.length - a.length
  )
}

const star = 42

/** Blanks a token in what an upstream sends back: as many stars as it has bytes, so that no length changes. */
export const makeTokenFilter = (token: string) => {
  const needles = spellingsOf(token)
  let held: Buffer = Buffer.alloc(0)

  const blank = (bytes: Buffer): void => {
    for (const needle of needles) {
      for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + needle.length)) {
        bytes.fill(star, at, at + needle.length)
      }
    }
  }

  return {
    text(value: string): string {
      return needles.reduce((text, needle) => text.replaceAll(needle.toString(), "*".repeat(needle.length)), value)
    },
    /** What may go on of a piece; an end that could be the beginning of a token waits for the next one. */
    push(piece: Uint8Array): Uint8Array {
      const bytes = Buffer.concat([held, piece])
      blank(bytes)
      const keep = longestBeginning(bytes, needles)
      held = bytes.subarray(bytes.length - keep)
      return bytes.subarray(0, bytes.length - keep)
    },
    /** What waited, when nothing more comes. */
    end(): Uint8Array {
      return held
    }
  }
}

/** How many bytes at the end are the beginning of a needle. */
const longestBeginning = (bytes: Buffer, needles: ReadonlyArray<Buffer>): number => {
  let longest = 0
  for (const needle of needles) {
    let at = Math.max(0, bytes.length - needle.length + 1)
    while ((at = bytes.indexOf(needle[0]!, at)) >= 0 && bytes.length - at > longest) {
      if (bytes.compare(needle, 0, bytes.length - at, at) === 0) longest = bytes.length - at
      at++
    }
  }
  return longest
}
