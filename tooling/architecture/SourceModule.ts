import { readFileSync } from "node:fs"
import { type Node, parseSync, type Program } from "oxc-parser"

/** Where a module stands in its package. */
export type ModuleScope = "src" | "test" | "workshop"

/** One import, re-export, dynamic import or `import("…")` type of a module. */
export interface ModuleImport {
  readonly specifier: string
  /** Whether the import is erased from what runs. `import { type X }` is not: the bare import stays. */
  readonly typeOnly: boolean
  /** The imported names that exist at run time; `*` for a namespace, a side effect or a dynamic import. */
  readonly names: ReadonlyArray<string>
  readonly line: number
}

/** A use of something that every JavaScript program finds in the global scope. */
export interface GlobalUse {
  readonly name: string
  readonly line: number
}

/** A parsed TypeScript file: only what the architecture rules ask about. */
export interface SourceModule {
  readonly file: string
  /** The path from the workspace root, with forward slashes. */
  readonly path: string
  readonly scope: ModuleScope
  readonly lines: number
  readonly imports: ReadonlyArray<ModuleImport>
  readonly socketGlobals: ReadonlyArray<GlobalUse>
}

/** Reads and parses one file; a syntax error is the type checker's to report, so what parses is what is judged. */
export const readModule = (file: string, path: string, scope: ModuleScope): SourceModule => {
  const text = readFileSync(file, "utf8")
  const program = parseSync(file, text).program
  const lineAt = lineCounter(text)
  const imports: Array<ModuleImport> = []
  const globals: Array<GlobalUse> = []
  const bound = new Set<string>()

  walk(program, [], "", (node, ancestors, key) => {
    const parent = ancestors.at(-1)
    switch (node.type) {
      case "ImportDeclaration":
        imports.push({
          specifier: node.source.value,
          typeOnly: node.importKind === "type",
          names: node.specifiers.length === 0 ? ["*"] : node.specifiers.flatMap(importedName),
          line: lineAt(node.start)
        })
        for (const specifier of node.specifiers) bound.add(specifier.local.name)
        break
      case "ExportNamedDeclaration":
        if (node.source !== null) {
          imports.push({
            specifier: node.source.value,
            typeOnly: node.exportKind === "type",
            names: node.specifiers.map((specifier) => nameOf(specifier.local)),
            line: lineAt(node.start)
          })
        }
        break
      case "ExportAllDeclaration":
        imports.push({
          specifier: node.source.value,
          typeOnly: node.exportKind === "type",
          names: ["*"],
          line: lineAt(node.start)
        })
        break
      case "ImportExpression":
        if (node.source.type === "Literal" && typeof node.source.value === "string") {
          imports.push({ specifier: node.source.value, typeOnly: false, names: ["*"], line: lineAt(node.start) })
        }
        break
      case "TSImportType":
        if (node.source.type === "Literal" && typeof node.source.value === "string") {
          imports.push({ specifier: node.source.value, typeOnly: true, names: [], line: lineAt(node.start) })
        }
        break
      case "Identifier":
        if (socketGlobalNames.has(node.name)) {
          if (isBinding(ancestors, key)) bound.add(node.name)
          else if (isFree(parent, key) || isGlobalMember(parent)) {
            globals.push({ name: node.name, line: lineAt(node.start) })
          }
        }
        break
      default:
    }
  })
  return {
    file,
    path,
    scope,
    lines: text.split("\n").length - (text.endsWith("\n") ? 1 : 0),
    imports,
    socketGlobals: globals.filter((use) => !bound.has(use.name))
  }
}

const socketGlobalNames = new Set(["fetch", "WebSocket", "EventSource", "XMLHttpRequest"])

type Specifier = Extract<Node, { type: "ImportDeclaration" }>["specifiers"][number]

const importedName = (specifier: Specifier): Array<string> => {
  if (specifier.type === "ImportNamespaceSpecifier") return ["*"]
  if (specifier.type === "ImportDefaultSpecifier") return ["default"]
  return specifier.importKind === "type" ? [] : [nameOf(specifier.imported)]
}

const nameOf = (name: { readonly type: string; readonly name?: string; readonly value?: unknown }): string =>
  name.type === "Literal" ? String(name.value) : name.name ?? ""

const isBinding = (ancestors: ReadonlyArray<Node>, key: string): boolean => {
  const parent = ancestors.at(-1)
  if (parent === undefined) return false
  if (parent.type === "VariableDeclarator") return key === "id"
  if (functions.has(parent.type)) return key === "params" || key === "id"
  return parent.type === "Property" && key === "value" && ancestors.at(-2)?.type === "ObjectPattern"
}

const functions = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"])

// An identifier that is a value by itself: not a key, not a member's name, not a part of a type.
const isFree = (parent: Node | undefined, key: string): boolean => {
  if (parent === undefined) return false
  if (parent.type.startsWith("TS") && !expressionWrappers.has(parent.type)) return false
  if (parent.type === "MemberExpression") return key === "object" || parent.computed
  if (parent.type === "Property") return key === "value"
  if (parent.type === "PropertyDefinition" || parent.type === "MethodDefinition") return key === "value"
  return !(parent.type === "ImportSpecifier" || parent.type === "ExportSpecifier")
}

const expressionWrappers = new Set(["TSAsExpression", "TSSatisfiesExpression", "TSNonNullExpression"])

const isGlobalMember = (parent: Node | undefined): boolean =>
  parent !== undefined && parent.type === "MemberExpression" && parent.object.type === "Identifier" &&
  (parent.object.name === "globalThis" || parent.object.name === "window")

type Visit = (node: Node, ancestors: ReadonlyArray<Node>, key: string) => void

const walk = (node: Node | Program, ancestors: Array<Node>, key: string, visit: Visit): void => {
  visit(node as Node, ancestors, key)
  ancestors.push(node as Node)
  for (const [name, value] of Object.entries(node)) {
    if (Array.isArray(value)) {
      for (const item of value) if (isNode(item)) walk(item, ancestors, name, visit)
    } else if (isNode(value)) {
      walk(value, ancestors, name, visit)
    }
  }
  ancestors.pop()
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string"

const lineCounter = (text: string): (offset: number) => number => {
  const starts = [0]
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1)
  return (offset) => {
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return low + 1
  }
}
