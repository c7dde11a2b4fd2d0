/** The members of a JSON object. */
export type Members = Readonly<Record<string, unknown>>

/** How deep an honest document goes at most; a key set in a client's metadata is four levels. */
const maxDepth = 32

/**
 * Reads a JSON object (RFC 8259); throws when the text is not JSON, and gives undefined for another value than an object.
 *
 * What is nested beyond any honest document counts as no JSON: tens of kilobytes of brackets keep a parser busy for longer
 * than all other work of an answer, and are too deep for what looks at the value afterwards.
 */
export const parseObject = (text: string): Members | undefined => {
  if (isTooDeep(text)) throw new SyntaxError("The document is nested too deep")
  const json: unknown = JSON.parse(text)
  return typeof json === "object" && json !== null && !Array.isArray(json) ? json as Members : undefined
}

/** Counts brackets outside of strings, in one pass that looks back at nothing. */
const isTooDeep = (text: string): boolean => {
  let depth = 0
  let inString = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (inString) {
      if (char === "\\") at++
      else if (char === "\"") inString = false
    } else if (char === "\"") inString = true
    else if (char === "[" || char === "{") {
      if (++depth > maxDepth) return true
    } else if (char === "]" || char === "}") depth--
  }
  return false
}
