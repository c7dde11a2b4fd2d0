import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** One package's `src/index.ts`: what stands there and what should. */
export interface Barrel {
  /** The path from the root. */
  readonly path: string
  readonly file: string
  readonly current: string | undefined
  readonly expected: string
}

/** The barrels of every package under `packages/` that has a `src`. */
export const barrels = (root: string): ReadonlyArray<Barrel> =>
  readdirSync(join(root, "packages"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, "packages", entry.name, "src")))
    .map((entry) => entry.name)
    .sort()
    .map((name) => {
      const source = join(root, "packages", name, "src")
      const file = join(source, "index.ts")
      return {
        path: `packages/${name}/src/index.ts`,
        file,
        current: existsSync(file) ? readFileSync(file, "utf8") : undefined,
        expected: render(publicModules(source))
      }
    })

/** Whether a barrel says something else than its folder. */
export const isStale = (barrel: Barrel): boolean => barrel.current !== barrel.expected

/** Writes a barrel. */
export const write = (barrel: Barrel): void => writeFileSync(barrel.file, barrel.expected)

const publicModules = (source: string): Array<string> =>
  readdirSync(source, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && entry.name !== "index.ts")
    .filter((entry) => !isInternal(readFileSync(join(source, entry.name), "utf8")))
    .sort((one, other) => order(one.name, other.name))
    .map((entry) => entry.name.slice(0, -".ts".length))

// The formatter's order of exports: by path, whatever the case.
const order = (one: string, other: string): number => {
  const [first, second] = [one.toLowerCase(), other.toLowerCase()]
  return first < second ? -1 : first > second ? 1 : 0
}

const isInternal = (text: string): boolean => {
  const leading = /^\s*(\/\*[\s\S]*?\*\/|(\/\/[^\n]*\n)+)/.exec(text)
  return leading !== null && leading[0].includes("@internal")
}

// A package whose modules are all still to come stays a module for the type checker.
const render = (names: ReadonlyArray<string>): string =>
  names.length === 0 ? "export {}\n" : names.map((name) => `export * as ${name} from "./${name}.ts"\n`).join("")
