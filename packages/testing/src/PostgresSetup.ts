import { Effect, Exit, Redacted, Scope } from "effect"
import { appendFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as CanaryScan from "./CanaryScan.ts"
import * as EmbeddedPostgres from "./EmbeddedPostgres.ts"
import * as Artefacts from "./internal/artefacts.ts"

interface Run {
  users: number
  readonly opened: Promise<void>
  readonly close: () => Promise<void>
}

// One server per run: every project of a workspace loads this module anew, so the run is kept on the global object.
const runs = globalThis as { [key: symbol]: Run | undefined }
const slot = Symbol.for("@valetkey/testing/PostgresSetup")

/**
 * Vitest `globalSetup`: gives the run one PostgreSQL that starts when a test first asks for a database.
 *
 * Nothing happens when `DATABASE_URL` is set. The end of the run fails when a canary stands in the data directory.
 */
export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if ((process.env["DATABASE_URL"] ?? "") !== "") return undefined
  const run = runs[slot] ??= open()
  run.users++
  await run.opened
  return async () => {
    if (--run.users > 0) return
    delete runs[slot]
    await run.close()
  }
}

const open = (): Run => {
  const scope = Scope.makeUnsafe()
  let findings: ReadonlyArray<CanaryScan.Finding> = []
  let started: Promise<string> | undefined
  const start = () =>
    started ??= Effect.runPromise(
      EmbeddedPostgres.make({
        onStopped: (dataDir) => Effect.sync(() => void (findings = CanaryScan.make().path(dataDir)))
      }).pipe(
        Effect.map(({ url }) => Redacted.value(url)),
        Scope.provide(scope)
      )
    )
  const broker = createServer((_, response) => {
    start().then(
      (url) => response.end(url),
      (cause: unknown) => response.writeHead(500).end(String(cause))
    )
  })
  const opened = new Promise<void>((resolve, reject) => {
    broker.once("error", reject)
    broker.listen(0, "127.0.0.1", () => {
      process.env[EmbeddedPostgres.variable] = `http://127.0.0.1:${(broker.address() as AddressInfo).port}/`
      resolve()
    })
  })
  return {
    users: 0,
    opened,
    close: async () => {
      broker.close()
      broker.closeAllConnections()
      delete process.env[EmbeddedPostgres.variable]
      await started?.catch(() => undefined)
      await Effect.runPromise(Scope.close(scope, Exit.void))
      if (findings.length === 0) return
      const report = Artefacts.findings()
      // An error here would keep the setups before this one from their teardown; the first of them reports instead.
      if (report === undefined) throw new Error(`Secrets in the database files:\n${CanaryScan.format(findings)}`)
      appendFileSync(report, `${CanaryScan.format(findings)}\n`)
    }
  }
}
