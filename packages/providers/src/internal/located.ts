import {
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode
} from "jsonc-parser"

/** Names of members and indices of items from the root on. */
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

const maxLength = 65_536
const maxBrackets = 512

/** Parses strict JSON. */
export const parse = (text: string): Located => {
  const found: Array<ParseError> = []
  // The parser goes down by calling itself; no honest file comes near where that ends.
  const isLarge = text.length > maxLength || text.split(/[[{]/).length > maxBrackets
  const root = isLarge ? undefined : parseTree(text, found, { disallowComments: true, allowTrailingComma: false })
  const lineAt = (offset: number): number => text.slice(0, offset).split("\n").length
  return {
    value: root === undefined ? undefined : getNodeValue(root),
    errors: [
      ...found.map(({ error, offset }) => ({
        line: lineAt(offset),
        message: `is not JSON: ${printParseErrorCode(error)}`
      })),
      ...(root === undefined && found.length === 0
        ? [{ line: 1, message: isLarge ? "is too large" : "is not JSON: it is empty" }]
        : [])
    ],
    repeated: root === undefined
      ? []
      : repeatedIn(root, []).map(({ offset, path }) => ({ path, line: lineAt(offset) })),
    lineOf: (path) => {
      for (let depth = path.length; root !== undefined && depth > 0; depth--) {
        const node = findNodeAtLocation(root, path.slice(0, depth).map(indexOrName(root, path)))
        // The name of a member stands before its value.
        if (node !== undefined) return lineAt((node.parent?.type === "property" ? node.parent : node).offset)
      }
      return lineAt(root?.offset ?? 0)
    }
  }
}

/** Schemas name an index as text. */
const indexOrName = (root: Node, path: Path) => (part: string | number, depth: number): string | number => {
  const around = depth === 0 ? root : findNodeAtLocation(root, path.slice(0, depth) as Array<string | number>)
  return around?.type === "array" ? Number(part) : part
}

interface Repeated {
  readonly path: Path
  readonly offset: number
}

const repeatedIn = (node: Node, path: Path): ReadonlyArray<Repeated> => {
  const seen = new Set<unknown>()
  return (node.children ?? []).flatMap((child, index): ReadonlyArray<Repeated> => {
    if (node.type === "array") return repeatedIn(child, [...path, index])
    const [name, value] = child.children ?? []
    if (name === undefined || value === undefined) return []
    const here = [...path, String(name.value)]
    const again = seen.has(name.value)
    seen.add(name.value)
    return [...(again ? [{ path: here, offset: name.offset }] : []), ...repeatedIn(value, here)]
  })
}
