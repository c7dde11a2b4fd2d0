import { type Finding, matches, type Text } from "./Finding.ts"

/** Package registries by host: a lockfile or document that names one ties every reader to it. */
export const registryHosts = (text: Text): ReadonlyArray<Finding> =>
  matches(text, "registry-hosts", registry, (found) => `names the package registry ${found}`)

/** Absolute paths of one machine, which exist on no other. */
export const machinePaths = (text: Text): ReadonlyArray<Finding> => [
  ...matches(text, "machine-paths", anywhere, (found) => `names a path of one machine: ${found.trim()}`),
  ...(text.path.endsWith(".md")
    ? matches(text, "machine-paths", inDocuments, (found) => `names a path of one machine: ${found.trim()}`)
    : [])
]

const registry = new RegExp(
  [
    String.raw`\bregistry\.[a-z0-9-]+\.[a-z]+`,
    String.raw`\bnpm\.pkg\.github\.com`,
    String.raw`https?:\/\/[^\s"'/]*(artifactory|verdaccio|nexus|npm-registry|npmmirror)[^\s"'/]*`,
    String.raw`^\s*(@[\w-]+:)?registry\s*=`,
    String.raw`\btarball: https?:`
  ].join("|"),
  "i"
)

const before = String.raw`(?:^|[\s"'\`(=:])`
const anywhere = new RegExp(
  `${before}${String.raw`\/(work\/|root\/|Users\/\w|home\/(?!me\/|you\/|user\/|nobody\/)[a-z]+\/)`}`
)
const inDocuments = new RegExp(`${before}${String.raw`\/(tmp|var\/folders)\/`}`)
