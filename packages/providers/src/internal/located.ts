/** Names of members and indices of items from the root on; an index may be written as text. */
export type Path = ReadonlyArray<string | number>

/** A JSON text that knows where its members stand. Lines are counted from one. */
export interface Located {
  readonly value: unknown
  readonly errors: ReadonlyArray<{ readonly line: number; readonly message: string }>
  /** Members whose name an object has already. */
  readonly repeated: ReadonlyArray<{ readonly path: Path; readonly line: number }>
  /** The line of a member, or of the nearest one around it. */
  lineOf(path: Path): number
}

/** Larger files are not read; no honest preset comes near. */
const maxLength = 16_384

/** Parses strict JSON. */
export const parse = (text: string): Located => {
  if (text.length > maxLength) return unreadable(1, "is too large")
  try {
    const value: unknown = JSON.parse(text)
    const { lines, repeated } = locate(text)
    return {
      value,
      errors: [],
      repeated,
      lineOf: (path) => {
        for (let depth = path.length; depth > 0; depth--) {
          const line = lines.get(keyOf(path.slice(0, depth)))
          if (line !== undefined) return line
        }
        return 1
      }
    }
  } catch {
    return unreadable(brokenLine(text), "is not JSON")
  }
}

/** The first line after which no text could make JSON of it. The engine tells a position of some mistakes alone. */
const brokenLine = (text: string): number => {
  const lines = text.split("\n")
  const at = lines.findIndex((_, index) => !mayGoOn(lines.slice(0, index + 1).join("\n").trimEnd()))
  return at === -1 ? lines.length : at + 1
}

const mayGoOn = (beginning: string): boolean => {
  try {
    JSON.parse(beginning)
    return true
  } catch (error) {
    const position = /at position (\d+)/.exec(String(error))?.[1]
    return position === undefined ? /Unexpected end/.test(String(error)) : Number(position) >= beginning.length
  }
}

const unreadable = (line: number, message: string): Located => ({
  value: undefined,
  errors: [{ line, message }],
  repeated: [],
  lineOf: () => line
})

const keyOf = (path: Path): string => JSON.stringify(path.map(String))

/** One object or array that is open: where it is, and what comes next in it. */
interface Open {
  readonly path: ReadonlyArray<string>
  readonly names: Set<string> | undefined
  next: string | number | undefined
}

/** Walks the tokens of a text that is known to be JSON. */
const locate = (text: string) => {
  const lines = new Map<string, number>()
  const repeated: Array<{ readonly path: Path; readonly line: number }> = []
  const open: Array<Open> = []
  let line = 1
  for (const [token] of text.matchAll(/\n|"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    const around = open.at(-1)
    if (token === "\n") line++
    else if (token === "}" || token === "]") open.pop()
    else if (token === ",") {
      if (around !== undefined) around.next = typeof around.next === "number" ? around.next + 1 : undefined
    } else if (token !== ":") {
      if (around?.names !== undefined && around.next === undefined) {
        around.next = String(JSON.parse(token))
        const path = [...around.path, around.next]
        if (around.names.has(around.next)) repeated.push({ path, line })
        around.names.add(around.next)
        lines.set(keyOf(path), line)
        continue
      }
      const path = around === undefined ? [] : [...around.path, String(around.next)]
      if (around?.names === undefined) lines.set(keyOf(path), line)
      if (token === "{") open.push({ path, names: new Set(), next: undefined })
      if (token === "[") open.push({ path, names: undefined, next: 0 })
    }
  }
  return { lines, repeated }
}
