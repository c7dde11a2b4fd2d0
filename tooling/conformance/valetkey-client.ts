// The client under test: the official SDK over `packages/mcp` and a `valetkey serve` of its own.
import { locate } from "@valetkey/client/Home"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import * as McpFetch from "@valetkey/mcp/McpFetch"
import { Effect, ManagedRuntime, Redacted } from "effect"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as TemporaryDirectory from "../proofs/TemporaryDirectory.ts"
import { consent, context, scenario, talk } from "./Talk.ts"

const url = process.argv.at(-1) ?? ""

/** The client id that the suite expects of clients that describe themselves by a document. */
const clientMetadataUrl = "https://conformance-test.local/client-metadata.json"

const program = Effect.scoped(Effect.gen(function*() {
  const home = yield* TemporaryDirectory.make
  yield* Serving.start(Command.environment(home, { VALETKEY_CLIENT_METADATA_URL: clientMetadataUrl }))
  const { socket, token: tokenFile } = locate({ VALETKEY_HOME: home })
  const runtime = yield* Effect.acquireRelease(
    Effect.sync(() => ManagedRuntime.make(ValetkeyClient.layerSocket({ socket, tokenFile }))),
    (runtime) => Effect.promise(() => runtime.dispose())
  )
  const { client_id, client_secret } = context()
  yield* Effect.promise(() =>
    runtime.runPromise(ValetkeyClient.use((valetkey) =>
      valetkey.putServer("mcp", {
        resource: url,
        ...(scenario === "auth/client-credentials-basic" ? { grant: { type: "client_credentials" } } : {}),
        ...(client_id !== undefined && client_secret !== undefined
          ? {
            client: {
              clientId: client_id,
              authMethod: "client_secret_basic",
              clientSecret: Redacted.make(client_secret)
            }
          }
          : {})
      })
    ))
  )
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
