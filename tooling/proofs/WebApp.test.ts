import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as Api from "./Api.ts"
import { freshKeys } from "./Installation.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

const program = fileURLToPath(new URL("../../examples/web-app.ts", import.meta.url))

/** The example, a server for it, and the provider of its users' accounts. */
const stage = Effect.gen(function*() {
  const directory = yield* TemporaryDirectory.make
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const [port, appPort] = [yield* Api.freePort, yield* Api.freePort]
  const origin = `http://127.0.0.1:${appPort}`
  const jwt = {
    VALETKEY_JWT_SECRET: Canary.makeText("jwt_secret"),
    VALETKEY_JWT_ISSUER: "issuer",
    VALETKEY_JWT_AUDIENCE: "valetkey"
  }
  yield* Serving.start(Command.environment(directory, {
    ...jwt,
    DATABASE_URL: Redacted.value(database.url),
    VALETKEY_KEYS: Redacted.value(freshKeys()),
    VALETKEY_LISTEN: `127.0.0.1:${port}`,
    VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`,
    VALETKEY_RETURN_URLS: `${origin}/connected`,
    VALETKEY_ALLOW_EGRESS: new URL(provider.origin).host
  }))
  const operator = Api.jwt(jwt.VALETKEY_JWT_SECRET, {
    iss: "issuer",
    aud: "valetkey",
    sub: "operator",
    tenant: "web-app",
    scope: "admin"
  })
  const described = yield* Api.make(`http://127.0.0.1:${port}`, operator).call("PUT", "/v1/servers/notes", {
    body: { resource: provider.resource }
  })
  assert.strictEqual(described.status, 201)
  yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const app = spawn(process.execPath, [program], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { PATH: process.env["PATH"], ...jwt, VALETKEY_SERVER: `http://127.0.0.1:${port}`, APP_ORIGIN: origin }
      })
      await once(app.stdout, "data")
      return app
    }),
    (app) =>
      Effect.promise(async () => {
        const ended = once(app, "exit")
        app.kill()
        await ended
      })
  )
  return { origin, provider }
})

describe("the example web application", () => {
  it.live(
    "BIND-04 connects its signed-in user, and refuses the one who was led into somebody else's flow",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { origin, provider } = yield* stage
        const [ada, mallory] = [UserAgent.make({ login: "ada" }), UserAgent.make({ login: "mallory" })]
        const connected = yield* ada.authorize(`${origin}/login?user=ada`)
        assert.deepStrictEqual([connected.status, connected.body], [200, "ada is connected"])
        assert.strictEqual(provider.requests("token").length, 1)

        // Mallory begins, and has Ada open the provider's page.
        const trap = yield* mallory.leave(`${origin}/login?user=mallory`)
        const led = yield* ada.authorize(trap)
        assert.deepStrictEqual([led.status, led.body], [403, "Not connected: flow_not_found"])
        assert.strictEqual(provider.requests("token").length, 1)

        provider.behaviour.consent = { error: "access_denied" }
        const denied = yield* mallory.authorize(`${origin}/connect`)
        assert.deepStrictEqual([denied.status, denied.body], [400, "Not connected: access_denied"])
      })),
    60_000
  )
})
