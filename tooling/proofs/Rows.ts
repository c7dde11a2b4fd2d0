import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { DatabaseSync } from "node:sqlite"

/** How many rows of each kind an installation holds. */
export interface Counts {
  readonly connections: number
  /** Flows that hold their connection's slot. */
  readonly openFlows: number
  /** Flows that keep a secret after their end. */
  readonly flowsWithSecrets: number
  readonly outbox: number
}

/** Counts the rows of a database on a copy, because a running server owns the file. */
export const count = (database: string): Counts => {
  const directory = mkdtempSync(join(tmpdir(), "vk-rows-"))
  try {
    const copy = join(directory, basename(database))
    for (const suffix of ["", "-wal"]) {
      if (existsSync(`${database}${suffix}`)) cpSync(`${database}${suffix}`, `${copy}${suffix}`)
    }
    const connection = new DatabaseSync(copy)
    try {
      const number = (from: string) => Number(connection.prepare(`SELECT count(*) AS n FROM ${from}`).get()?.["n"])
      const open = "state IN ('pending', 'awaiting_finalize', 'exchanging')"
      return {
        connections: number("connections"),
        openFlows: number(`flows WHERE ${open}`),
        flowsWithSecrets: number(
          `flows WHERE NOT ${open} AND (code_verifier IS NOT NULL OR code IS NOT NULL OR client_secret IS NOT NULL
            OR authorization_url IS NOT NULL)`
        ),
        outbox: number("outbox")
      }
    } finally {
      connection.close()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
