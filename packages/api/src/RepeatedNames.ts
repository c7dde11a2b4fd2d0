/** Whether an object of a JSON text has two properties of one name, however their names are escaped. */
export const repeatsName = (text: string): boolean => {
  const open: Array<Set<string> | undefined> = []
  let isName = false
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case "\"": {
        const start = at++
        while (at < text.length && text[at] !== "\"") at += text[at] === "\\" ? 2 : 1
        const names = open.at(-1)
        if (isName && names !== undefined) {
          const name = unescaped(text.slice(start, at + 1))
          if (names.has(name)) return true
          names.add(name)
        }
        isName = false
        break
      }
      case "{":
        open.push(new Set())
        isName = true
        break
      case "[":
        open.push(undefined)
        isName = false
        break
      case "}":
      case "]":
        open.pop()
        isName = false
        break
      case ",":
        isName = open.at(-1) !== undefined
        break
    }
  }
  return false
}

// What is no JSON is refused by the decoder.
const unescaped = (literal: string): string => {
  if (!literal.includes("\\")) return literal.slice(1, -1)
  try {
    return String(JSON.parse(literal))
  } catch {
    return literal
  }
}
