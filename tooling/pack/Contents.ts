import type { PublishedManifest, Tarball } from "./Tarball.ts"

/** What is wrong with a tarball, one sentence each. */
export const problems = (tarball: Tarball): ReadonlyArray<string> => [
  ...strangers(tarball),
  ...missingOutputs(tarball),
  ...wrongTargets(tarball),
  ...leftovers(tarball),
  ...installScripts(tarball.manifest),
  ...unresolvedRanges(tarball.manifest)
]

// Only what a consumer can use: code, declarations, their maps, the sources the maps point to, documents,
// the vectors of a published format, and presets, which are data.
const expected =
  /^(package\.json|README\.md|FORMAT\.md|LICENSE|CHANGELOG\.md|test\/vectors\/[\w.-]+\.json|(src|dist)\/presets\/[\w.-]+\.json|src\/[\w./-]+\.ts|(bin|dist)\/[\w./-]+\.(c?js|d\.c?ts)(\.map)?)$/
const unwanted = /(^|\/)(test(?!\/vectors\/)|tests|fixtures)\/|\.(test|spec)\.|vitest|tsbuildinfo|(^|\/)\.env/

const strangers = ({ files }: Tarball): Array<string> =>
  [...files.keys()].filter((path) => !expected.test(path) || unwanted.test(path)).map((path) => `carries ${path}`)

const missingOutputs = ({ files }: Tarball): Array<string> => {
  const absent = ["README.md", "LICENSE"].filter((path) => !files.has(path)).map((path) => `lacks ${path}`)
  const code = [...files.keys()].filter((path) => /^dist\/.*\.c?js$/.test(path))
  if (code.length === 0) absent.push("lacks dist")
  for (const path of code.filter((path) => files.has(path.replace(/^dist\/(.*)\.js$/, "src/$1.ts")))) {
    if (!files.has(path.replace(/\.js$/, ".d.ts"))) absent.push(`lacks the declarations of ${path}`)
  }
  for (const path of files.keys()) {
    const output = path.replace(/^src\/(.*)\.ts$/, "dist/$1.js")
    if (output !== path && !files.has(output)) absent.push(`lacks ${output}`)
  }
  return absent
}

const wrongTargets = ({ files, manifest }: Tarball): Array<string> => {
  const targets = [...Object.entries(manifest.exports ?? {}), ...Object.entries(manifest.bin ?? {})]
  return targets.flatMap(([name, target]) => {
    if (target === null || target === "./package.json") return []
    const path = target.replace(/^\.\//, "")
    if (!/^(bin|dist)\//.test(path)) return [`points ${name} at ${target}`]
    return path.includes("*") || files.has(path) ? [] : [`points ${name} at ${target}, which it lacks`]
  })
}

const leftovers = ({ files }: Tarball): Array<string> =>
  [...files].flatMap(([path, content]) => {
    if (path.endsWith(".d.ts") && content.includes("@internal")) return [`declares an @internal member in ${path}`]
    if (path.endsWith(".js") && /(from|import\() ?"\.[^"]*\.ts"/.test(content)) return [`imports a source from ${path}`]
    return []
  })

const installScripts = (manifest: PublishedManifest): Array<string> =>
  Object.keys(manifest.scripts ?? {}).filter((name) => /^(pre|post)?install$|^prepare$/.test(name))
    .map((name) => `runs a ${name} script on the consumer's machine`)

const unresolvedRanges = (manifest: PublishedManifest): Array<string> =>
  Object.entries({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies })
    .filter(([, range]) => /^(workspace|catalog|file|link):/.test(range))
    .map(([name, range]) => `asks for ${name} as ${range}`)
