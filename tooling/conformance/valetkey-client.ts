// The client under test: the official SDK over `packages/mcp` and a `valetkey serve` of its own.
import { locate } from "@valetkey/client/Home"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import * as McpFetch from "@valetkey/mcp/McpFetch"
import { Effect, ManagedRuntime } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as TemporaryDirectory from "../proofs/TemporaryDirectory.ts"
import * as Scenario from "./Scenario.ts"
import { consent, talk } from "./Talk.ts"

const url = process.argv.at(-1) ?? ""

/** The client id that the suite expects of clients that describe themselves by a document. */
const clientMetadataUrl = "https://conformance-test.local/client-metadata.json"

const program = Effect.scoped(Effect.gen(function*() {
  const home = yield* TemporaryDirectory.make
  const workload = join(home, "workload.jwt")
  yield* Effect.sync(() => writeFileSync(workload, Scenario.workloadToken))
  yield* Serving.start(Command.environment(home, {
    VALETKEY_CLIENT_METADATA_URL: clientMetadataUrl,
    VALETKEY_WORKLOAD_TOKENS: `local/platform=${workload}`
  }))
  const { socket, token: tokenFile } = locate({ VALETKEY_HOME: home })
  const runtime = yield* Effect.acquireRelease(
    Effect.sync(() => ManagedRuntime.make(ValetkeyClient.layerSocket({ socket, tokenFile }))),
    (runtime) => Effect.promise(() => runtime.dispose())
  )
  yield* Effect.promise(() => runtime.runPromise(Scenario.describe(url)))
  const fetch = McpFetch.make(
    (effect, signal) => runtime.runPromise(effect, signal === undefined ? {} : { signal }),
    { server: "mcp", ask: (request) => consent(request.url) }
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
