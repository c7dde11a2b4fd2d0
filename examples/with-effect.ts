// Connects a person when that is needed, then prints how long the token lasts: `node examples/with-effect.ts notes`.
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Config, DateTime, Effect, Layer, Redacted } from "effect"

const program = Effect.fn("example")(function*(server: string) {
  const valetkey = yield* ValetkeyClient
  const token = yield* valetkey.token(server, { minValidity: "5 minutes" })
  return token.expiresAt === undefined ? "no end" : DateTime.formatIso(token.expiresAt)
})

const connect = Effect.fn("connect")(function*(server: string) {
  const valetkey = yield* ValetkeyClient
  const started = yield* valetkey.start({ server, onConflict: "join" })
  if (!("flowId" in started)) return
  if ("authorizationUrl" in started) console.error(`Open ${Redacted.value(started.authorizationUrl)}`)
  if ("connectUrl" in started) {
    console.error(`Open ${Redacted.value(started.connectUrl)}\nThe page must show ${started.compareCode}`)
  }
  // One answer takes 30 seconds at most, a person as long as the flow lives.
  yield* valetkey.flow(started.flowId, { wait: "30 seconds" }).pipe(Effect.repeat({ until: isSettled }))
})

const isSettled = ({ status }: { readonly status: string }) =>
  status !== "pending" && status !== "exchanging" && status !== "awaiting_finalize"

const layer = Layer.unwrap(Effect.gen(function*() {
  const url = yield* Config.String("VALETKEY_SERVER")
  const token = yield* Config.Redacted("VALETKEY_TOKEN")
  return ValetkeyClient.layerUrl({ url, token })
}))

const server = process.argv[2] ?? "notes"

program(server).pipe(
  Effect.catchIf(
    (error) =>
      error._tag === "ApiProblem" &&
      (error.code === "connection_not_found" || error.code === "reauthorization_required"),
    () => Effect.andThen(connect(server), program(server))
  ),
  Effect.tap((expiry) => Effect.sync(() => console.log(expiry))),
  Effect.catch((error) =>
    Effect.sync(() => {
      console.error(error.message)
      process.exitCode = 1
    })
  ),
  Effect.provide(layer),
  Effect.runPromise
)
