import type { Finding, Rule } from "../Rule.ts"
import type { ModuleImport } from "../SourceModule.ts"

// Who may open a connection to somewhere: the guarded client itself, what runs in a caller's program and makes his own requests, and
// the test kit.
const mayConnect = new Set(["packages/egress", "packages/client", "packages/mcp", "packages/testing", "apps/cli"])

// Modules that exist to connect.
const clients: ReadonlyArray<RegExp> = [
  /^undici(\/|$)/,
  /^node:(https?|http2|net|tls|dgram)$/,
  /^effect\/http\/FetchHttpClient$/,
  /^@effect\/platform-(node|bun)(-shared)?\/\w*(HttpClient|Socket|Undici)$/,
  /^(axios|got|ky|node-fetch|ws)(\/|$)/
]

// Names that listen, from modules that can do both.
const listening = new Set([
  "createServer",
  "Server",
  "IncomingMessage",
  "ServerResponse",
  "isIP",
  "isIPv4",
  "isIPv6",
  "BlockList"
])

// Names that connect, from modules that are fine otherwise.
const connecting: Readonly<Record<string, ReadonlyArray<string>>> = {
  "effect/http": ["FetchHttpClient"],
  jose: ["createRemoteJWKSet"]
}

/** One door for everything that leaves. */
export const egressOnly: Rule = {
  name: "egress-only",
  sentence: "only packages/egress opens a connection to somewhere else",
  find: (workspace) =>
    workspace.packages.flatMap((from) => {
      if (from.room === "workshop" || mayConnect.has(`${from.room}/${from.folder}`)) return []
      return from.modules.filter((module) => module.scope === "src").flatMap((module): Array<Finding> => [
        ...module.imports.filter(opensSockets).map(({ line, specifier }) => ({
          where: `${module.path}:${line}`,
          message: `${specifier} connects past packages/egress; take an HttpClient or a port instead`
        })),
        ...module.socketGlobals.map(({ line, name }) => ({
          where: `${module.path}:${line}`,
          message: `the global ${name} connects past packages/egress; take an HttpClient or a port instead`
        }))
      ])
    })
}

const opensSockets = ({ names, specifier, typeOnly }: ModuleImport): boolean => {
  if (typeOnly) return false
  if (clients.some((client) => client.test(specifier))) {
    return !(specifier.startsWith("node:") && names.every((name) => listening.has(name)))
  }
  return names.some((name) => (connecting[specifier] ?? []).includes(name))
}
