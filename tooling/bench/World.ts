import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect, type Scope } from "effect"
import { execFile, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"

const root = join(import.meta.dirname, "../..")

/** The command as it is published: the bundle behind its launcher. */
export const valetkey: readonly [string, string] = [process.execPath, join(root, "apps/cli/dist/bundle/valetkey.cjs")]

/** An installation with one connection, `bench`, whose token stays good for the whole run. */
export interface World {
  readonly home: string
  readonly env: NodeJS.ProcessEnv
  readonly socket: string
  /** Runs the command and gives what it printed on stdout. */
  run(...args: ReadonlyArray<string>): Promise<string>
}

/** Builds the bundles, starts a provider, connects, and leaves the server running; the scope ends all of it. */
export const make: Effect.Effect<World, unknown, Scope.Scope> = Effect.gen(function*() {
  yield* Effect.promise(() => promisify(execFile)(process.execPath, [join(root, "apps/cli/build.mjs")], { cwd: root }))
  const provider = yield* FakeProvider.make({ accessTokenTtlSeconds: 86_400 })
  const home = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-bench-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const env = { ...process.env, VALETKEY_HOME: home, NODE_COMPILE_CACHE: join(home, "compile-cache") }
  const run = async (...args: ReadonlyArray<string>) =>
    (await promisify(execFile)(valetkey[0], [valetkey[1], ...args], { env })).stdout
  const server = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(valetkey[0], [valetkey[1], "serve"], { env, stdio: "ignore" })),
    (child) =>
      Effect.promise(() =>
        new Promise<void>((resolve) => {
          child.once("exit", () => resolve())
          if (child.exitCode === null) child.kill("SIGTERM")
          else resolve()
        })
      )
  )
  if (server.pid === undefined) return yield* Effect.die("the server did not start")
  yield* Effect.promise(async () => {
    await run("servers", "add", "bench", provider.resource)
    const { authorizationUrl } = JSON.parse(await run("connect", "bench", "--no-browser", "--json"))
    // The provider consents at once and redirects to the callback, whose page waits for the flow.
    const page = await fetch(authorizationUrl)
    if (!page.ok) throw new Error(`the callback page answered ${page.status}`)
  })
  return { home, env, socket: join(home, "run/valetkey.sock"), run }
})
