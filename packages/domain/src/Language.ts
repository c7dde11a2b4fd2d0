/** More than any browser sends. What is longer is no preference of a person. */
const maxHeader = 1024
const maxRanges = 32

/**
 * The language, of those available, that a browser asks for: the most wanted range first, each shortened from its end
 * until a language has it. The first language when none does, or when the header is no list of ranges.
 *
 * @see RFC 9110 §12.5.4, RFC 4647 §3.4
 */
export const choose = (
  header: string | undefined,
  available: readonly [string, ...ReadonlyArray<string>]
): string => {
  if (header === undefined || header.length > maxHeader) return available[0]
  const ranges = header.split(",").slice(0, maxRanges).flatMap(rangeOf)
  for (const { range } of ranges.sort((one, other) => other.weight - one.weight)) {
    const found = shorterOf(range).map((tag) => available.find((language) => language.toLowerCase() === tag))
      .find((language) => language !== undefined)
    if (found !== undefined) return found
  }
  return available[0]
}

interface Range {
  /** In small letters. */
  readonly range: string
  readonly weight: number
}

/** A range that is wanted at all. The wildcard says nothing of which language to take. */
const rangeOf = (text: string): ReadonlyArray<Range> => {
  const found = /^\s*([a-z]{1,8}(?:-[a-z0-9]{1,8})*)\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?\s*$/i.exec(text)
  if (found === null) return []
  const weight = Number(found[2] ?? 1)
  return weight > 0 ? [{ range: found[1]!.toLowerCase(), weight }] : []
}

/** The range and what is left of it, one subtag after the other; a subtag of one letter goes with the one behind it. */
const shorterOf = (range: string): ReadonlyArray<string> => {
  const subtags = range.split("-")
  return subtags.map((_, index) => subtags.slice(0, subtags.length - index))
    .filter((left) => left.length === 1 || left.at(-1)!.length > 1)
    .map((left) => left.join("-"))
}
