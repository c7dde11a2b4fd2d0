import { builtinModules } from "node:module"
import { dirname, join, relative } from "node:path"
import type { Finding, Rule } from "../Rule.ts"
import type { ModuleImport, SourceModule } from "../SourceModule.ts"
import { isRelative, npmName, type Package, packageOf, type Workspace } from "../Workspace.ts"

// What `src` of each package may import, by folder name. A folder that is not listed is an adapter: domain alone.
const allowed: Readonly<Record<string, ReadonlyArray<string>>> = {
  domain: [],
  api: ["domain"],
  http: ["api", "domain"],
  client: ["api"],
  mcp: ["client"],
  oauth: ["domain", "egress"],
  testing: ["domain"]
}

// Edges that exist for types alone.
const allowedTypes: Readonly<Record<string, ReadonlyArray<string>>> = {
  client: ["domain"]
}

/** Arrows between packages go down, in the manifests and in the imports of `src`. */
export const dependencyEdges: Rule = {
  name: "dependency-edges",
  sentence:
    "apps import every package, http imports api and domain, client imports api, mcp imports client, an adapter imports domain",
  find: (workspace) =>
    workspace.packages.flatMap((from) => {
      if (from.room === "workshop") return []
      const findings: Array<Finding> = []
      for (const name of Object.keys(from.manifest.dependencies ?? {})) {
        const to = packageOf(workspace, name)
        if (to !== undefined && !isTesting(to) && !mayImport(from, to, true)) {
          findings.push({
            where: `${path(workspace, from)}/package.json`,
            message: `${from.name} may not depend on ${name}`
          })
        }
      }
      for (const { imported, module, to } of siblingImports(workspace, from)) {
        if (module.scope !== "src" || isTesting(to) || mayImport(from, to, imported.typeOnly)) continue
        findings.push({
          where: `${module.path}:${imported.line}`,
          message: mayImport(from, to, true)
            ? `${from.name} may import ${to.name} with \`import type\` alone`
            : `${from.name} may not import ${to.name}`
        })
      }
      return findings
    })
}

/** The test kit serves tests and tooling and never ships inside something else. */
export const testingIsDevOnly: Rule = {
  name: "testing-is-dev-only",
  sentence: "testing stands in devDependencies alone and no src imports it",
  find: (workspace) =>
    workspace.packages.flatMap((from) => {
      if (from.room === "workshop" || isTesting(from)) return []
      const findings: Array<Finding> = []
      for (const field of ["dependencies", "peerDependencies", "optionalDependencies"] as const) {
        for (const name of Object.keys(from.manifest[field] ?? {})) {
          const to = packageOf(workspace, name)
          if (to !== undefined && isTesting(to)) {
            findings.push({
              where: `${path(workspace, from)}/package.json`,
              message: `${name} belongs in devDependencies`
            })
          }
        }
      }
      for (const { imported, module, to } of siblingImports(workspace, from)) {
        if (module.scope === "src" && isTesting(to)) {
          findings.push({ where: `${module.path}:${imported.line}`, message: `src may not import ${to.name}` })
        }
      }
      return findings
    })
}

/** The domain knows Effect's stable modules and nothing of the world. */
export const domainImports: Rule = {
  name: "domain-imports",
  sentence: "domain imports effect and its stable modules only",
  find: (workspace) =>
    workspace.packages.filter((candidate) => candidate.folder === "domain" && candidate.room === "packages")
      .flatMap((domain) =>
        domain.modules.filter((module) => module.scope === "src").flatMap((module) =>
          module.imports.filter(({ specifier }) => {
            const stable = specifier === "effect" || /^effect\/[A-Z]\w*$/.test(specifier)
            // Another package of ours is the business of dependency-edges.
            return !stable && !isRelative(specifier) && packageOf(workspace, specifier) === undefined
          }).map(({ line, specifier }) => ({
            where: `${module.path}:${line}`,
            message: `domain may not import ${specifier}`
          }))
        )
      )
}

/** Private modules stay in their package, and nobody walks into another package by path. */
export const internalImports: Rule = {
  name: "internal-imports",
  sentence: "internal/ and relative paths never cross a package",
  find: (workspace) =>
    workspace.packages.flatMap((from) =>
      from.modules.flatMap((module) =>
        module.imports.flatMap(({ line, specifier }): Array<Finding> => {
          const where = `${module.path}:${line}`
          if (isRelative(specifier)) {
            const target = relative(from.directory, join(dirname(module.file), specifier))
            return target.startsWith("..")
              ? [{ where, message: `${specifier} leaves ${from.name}; import it by name` }]
              : []
          }
          const to = packageOf(workspace, specifier)
          return to !== undefined && to !== from && specifier.startsWith(`${to.name}/internal/`)
            ? [{ where, message: `${specifier} is private to ${to.name}` }]
            : []
        })
      )
    )
}

/** Whatever a package imports, its own package.json names. */
export const declaredImports: Rule = {
  name: "declared-imports",
  sentence: "every imported package is declared in the importing package's package.json",
  find: (workspace) =>
    workspace.packages.flatMap((from) => {
      const shipped = new Set([
        ...Object.keys(from.manifest.dependencies ?? {}),
        ...Object.keys(from.manifest.peerDependencies ?? {}),
        ...Object.keys(from.manifest.optionalDependencies ?? {})
      ])
      const everything = new Set([...shipped, ...Object.keys(from.manifest.devDependencies ?? {})])
      return from.modules.flatMap((module) =>
        module.imports.flatMap(({ line, specifier }): Array<Finding> => {
          if (isRelative(specifier) || specifier.startsWith("node:")) return []
          const name = npmName(specifier)
          const where = `${module.path}:${line}`
          if (builtinModules.includes(name)) return [{ where, message: `write node:${specifier}` }]
          if (name === from.name) return []
          const to = packageOf(workspace, specifier)
          // testing-is-dev-only speaks about this one.
          if (module.scope === "src" && to !== undefined && isTesting(to)) return []
          if ((module.scope === "src" ? shipped : everything).has(name)) return []
          // A types-only package may stand among the devDependencies of an app, whose declarations nobody reads.
          if (
            module.scope === "src" && from.room === "apps" && everything.has(name) && importsTypes(module, specifier)
          ) {
            return []
          }
          return [{
            where,
            message: `${name} is not among the ${module.scope === "src" ? "shipped " : ""}dependencies`
          }]
        })
      )
    })
}

/** The platform's barrel pulls every optional peer in at start. */
export const platformBarrel: Rule = {
  name: "platform-barrel",
  sentence: "platform modules are imported one by one, never through the bare barrel",
  find: (workspace) =>
    workspace.packages.flatMap((from) =>
      from.modules.flatMap((module) =>
        module.imports.filter(({ specifier }) => /^@effect\/platform-(node|node-shared|bun|deno)$/.test(specifier)).map(
          ({ line, specifier }) => ({
            where: `${module.path}:${line}`,
            message: `import ${specifier}/<Module> instead of ${specifier}`
          })
        )
      )
    )
}

const isTesting = (candidate: Package): boolean => candidate.folder === "testing" && candidate.room === "packages"

const mayImport = (from: Package, to: Package, typeOnly: boolean): boolean => {
  if (from === to) return true
  if (from.room === "apps") return true
  if (to.room !== "packages") return false
  const edges = allowed[from.folder] ?? ["domain"]
  return edges.includes(to.folder) || (typeOnly && (allowedTypes[from.folder] ?? []).includes(to.folder))
}

interface SiblingImport {
  readonly module: SourceModule
  readonly imported: ModuleImport
  readonly to: Package
}

const siblingImports = (workspace: Workspace, from: Package): Array<SiblingImport> =>
  from.modules.flatMap((module) =>
    module.imports.flatMap((imported) => {
      const to = isRelative(imported.specifier) ? undefined : packageOf(workspace, imported.specifier)
      return to === undefined || to === from ? [] : [{ module, imported, to }]
    })
  )

const importsTypes = (module: SourceModule, specifier: string): boolean =>
  module.imports.filter((imported) => imported.specifier === specifier).every((imported) => imported.typeOnly)

const path = (workspace: Workspace, of: Package): string => relative(workspace.root, of.directory)
