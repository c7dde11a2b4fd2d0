import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Env } from "./Replica.ts"

/** What watches the connections that a process opens. */
export interface SocketWatch {
  readonly nodeOptions: ReadonlyArray<string>
  readonly env: Env
  /** The connections to addresses that the configuration does not name. */
  strays(): ReadonlyArray<string>
}

/**
 * Watches a process with this configuration. In a test every peer is on this machine, so each address that a server may
 * connect to stands in its environment: the database, listed endpoints, key services. Whatever else it opens is a leak of
 * the guard, wherever it leads. The local profile alone lets everything on the machine itself through.
 */
export const make = (directory: string, configuration: Env): SocketWatch => {
  const file = join(directory, "sockets")
  const isLocal = configuration["DATABASE_URL"] === undefined
  const ports = new Set(
    Object.values(configuration).flatMap((value = "") =>
      [...value.matchAll(/:(\d{2,5})(?!\d)/g)].map(([, port]) => Number(port))
    )
  )
  return {
    nodeOptions: ["--import", fileURLToPath(new URL("./socketPreload.ts", import.meta.url))],
    env: { TEST_SOCKETS: file },
    strays: () => {
      const opened = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : []
      return [...new Set(opened)].filter((line) => {
        const [address = "", port] = line.split(" ")
        return line !== "" && !ports.has(Number(port)) && !(isLocal && /^(127\.|::1$)/.test(address))
      })
    }
  }
}
