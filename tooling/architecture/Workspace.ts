import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, join, relative, sep } from "node:path"
import { readModule, type SourceModule } from "./SourceModule.ts"

/** The fields of a package.json that the rules read. */
export interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

/** The room a package stands in: what is published to be built on, what composes, and what only serves the repository. */
export type Room = "packages" | "apps" | "workshop"

/** One workspace package with its parsed modules. */
export interface Package {
  readonly name: string
  /** The folder's own name, which the dependency table uses. */
  readonly folder: string
  readonly directory: string
  readonly room: Room
  readonly manifest: Manifest
  readonly modules: ReadonlyArray<SourceModule>
}

/** Every workspace package under one root. */
export interface Workspace {
  readonly root: string
  readonly packages: ReadonlyArray<Package>
}

/** Reads a workspace: `packages/*`, `apps/*`, `tooling` and `examples`. */
export const readWorkspace = (root: string): Workspace => {
  const packages: Array<Package> = []
  for (const room of ["packages", "apps"] as const) {
    for (const folder of subfolders(join(root, room))) {
      const found = readPackage(root, join(root, room, folder), room)
      if (found !== undefined) packages.push(found)
    }
  }
  for (const folder of ["tooling", "examples"]) {
    const found = readPackage(root, join(root, folder), "workshop")
    if (found !== undefined) packages.push(found)
  }
  return { root, packages }
}

/** The package whose published name a bare specifier starts with. */
export const packageOf = (workspace: Workspace, specifier: string): Package | undefined =>
  workspace.packages.find((candidate) => specifier === candidate.name || specifier.startsWith(`${candidate.name}/`))

/** The name of the npm package a bare specifier belongs to: `effect/http` is of `effect`, `@a/b/c` of `@a/b`. */
export const npmName = (specifier: string): string => {
  const parts = specifier.split("/")
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0] ?? specifier
}

/** Whether a specifier names a file of the importing package. */
export const isRelative = (specifier: string): boolean => specifier.startsWith("./") || specifier.startsWith("../")

const readPackage = (root: string, directory: string, room: Room): Package | undefined => {
  const manifestPath = join(directory, "package.json")
  if (!existsSync(manifestPath)) return undefined
  const manifest = JSON.parse(readFileSync(manifestPath, "utf8")) as Manifest
  const modules: Array<SourceModule> = []
  const scopes = room === "workshop"
    ? [["", "workshop"] as const]
    : [["src", "src"] as const, ["test", "test"] as const]
  for (const [folder, scope] of scopes) {
    for (const file of typescriptFiles(join(directory, folder))) {
      modules.push(readModule(file, relative(root, file).split(sep).join("/"), scope))
    }
  }
  return { name: manifest.name, folder: basename(directory), directory, room, manifest, modules }
}

const ignored = new Set(["node_modules", "dist", "fixtures"])

const subfolders = (directory: string): Array<string> =>
  existsSync(directory)
    ? readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name)
      .sort()
    : []

const typescriptFiles = (directory: string): Array<string> => {
  if (!existsSync(directory)) return []
  const files: Array<string> = []
  for (const entry of readdirSync(directory, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) {
      if (!ignored.has(entry.name)) files.push(...typescriptFiles(path))
    } else if (/\.[cm]?tsx?$/.test(entry.name)) {
      files.push(path)
    }
  }
  return files
}
