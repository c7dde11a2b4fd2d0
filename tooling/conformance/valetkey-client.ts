// The client under test: the official SDK over `packages/mcp` and the `valetkey serve` of this run.
import { locate } from "@valetkey/client/Home"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import * as McpFetch from "@valetkey/mcp/McpFetch"
import { Effect, ManagedRuntime } from "effect"
import * as Description from "./Description.ts"
import { consent, talk } from "./Talk.ts"

const url = process.argv.at(-1) ?? ""

const program = Effect.scoped(Effect.gen(function*() {
  const { socket, token: tokenFile } = locate({ VALETKEY_HOME: process.env["VALETKEY_HOME"] })
  const runtime = yield* Effect.acquireRelease(
    Effect.sync(() => ManagedRuntime.make(ValetkeyClient.layerSocket({ socket, tokenFile }))),
    (runtime) => Effect.promise(() => runtime.dispose())
  )
  const server = yield* Effect.promise(() => runtime.runPromise(Description.describe(url)))
  const fetch = McpFetch.make(
    (effect, signal) => runtime.runPromise(effect, signal === undefined ? {} : { signal }),
    { server, ask: async (request) => void (await globalThis.fetch(await consent(request.url))) }
  )
  yield* Effect.tryPromise({ try: () => talk(url, fetch), catch: (error) => error })
}))

await Effect.runPromise(program).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  }
)
