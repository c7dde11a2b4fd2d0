import { assert, describe, it } from "@effect/vitest"
import { locate } from "@valetkey/client/Home"
import * as Promises from "@valetkey/client/Promises"
import * as Canary from "@valetkey/testing/Canary"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Context, Deferred, Effect, Fiber, Layer } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Command from "../demo/Command.ts"
import * as Person from "../demo/Person.ts"
import * as Serving from "../demo/Serving.ts"
import type * as Api from "./Api.ts"
import { apiOf } from "./Playground.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** A running installation with one connection to an MCP server, that a person consented to. */
class Connected extends Context.Service<Connected, {
  readonly provider: OidcProvider.OidcProvider
  readonly resource: McpResource.McpResource
  readonly person: Person.Person
  readonly home: string
  readonly url: string
  readonly bootToken: string
  readonly api: Api.Api
}>()("proofs/Connected") {
  static readonly layer = Layer.effect(
    Connected,
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make
      const provider = yield* OidcProvider.make({
        rotateRefreshTokens: true,
        onSecret: (kind, secret) => Canary.register(kind, secret)
      })
      const resource = yield* McpResource.make(provider)
      const person = yield* Person.make({ directory, chromium: false })
      const home = join(directory, "home")
      const env = Command.environment(directory, {
        VALETKEY_HOME: home,
        VALETKEY_LISTEN: "127.0.0.1:0",
        BROWSER: person.browser
      })
      const serving = yield* Effect.orDie(Serving.start(env))
      const [{ code, stderr }] = yield* Person.during(
        person,
        Command.valetkey(["connect", resource.url, "--name", "notes"], { env })
      )
      assert.strictEqual(code, 0, stderr)
      return Connected.of({
        provider,
        resource,
        person,
        home,
        url: String((serving.ready["listen"] as ReadonlyArray<string>).at(-1)),
        bootToken: readFileSync(locate(env).token, "utf8").trim(),
        api: apiOf(locate(env), serving)
      })
    })
  )
}

/** What the provider was asked since, by kind. */
const asked = ({ provider }: Connected["Service"], since: number) =>
  provider.log.slice(since).map(({ kind }) => kind).filter((kind) => kind !== "introspection")

/** A session in which the server ends the token, and a call whose progress is told before its result. */
const session = (open: McpClient.SessionOptions, url: string) =>
  Effect.gen(function*() {
    const connected = yield* Connected
    const { person, provider, resource } = connected
    const prompted = yield* Effect.forkChild(person.consent)
    const client = yield* McpClient.open(url, open)
    const since = provider.log.length
    assert.strictEqual((yield* client.whoami).sub, "alice")
    assert.deepStrictEqual(asked(connected, since), [])

    const refused = resource.unauthorized()
    yield* provider.expireAccessTokens
    assert.strictEqual((yield* client.whoami).sub, "alice")
    assert.strictEqual((yield* client.whoami).sub, "alice")
    assert.strictEqual(resource.unauthorized(), refused + 1)
    assert.isUndefined(prompted.pollUnsafe(), "the browser was opened")
    assert.deepStrictEqual(asked(connected, since), ["token"])
    assert.strictEqual(provider.reuseDetected(), 0)

    const told = yield* Deferred.make<void>()
    const report = yield* Effect.forkChild(client.report(() => Deferred.doneUnsafe(told, Effect.void)))
    yield* Deferred.await(told)
    resource.release()
    assert.strictEqual(yield* Fiber.join(report), "reported")
  })

describe("a session of the official MCP client whose token the server ends", () => {
  it.live(
    "S4.48 S4.54 goes on through the client's fetch, and nobody is prompted",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { home, resource } = yield* Connected
        const valetkey = yield* Effect.acquireRelease(
          Effect.sync(() => Promises.connect({ home })),
          (client) => Effect.promise(() => client.close())
        )
        yield* session({ fetch: valetkey.fetch("notes") }, resource.url)
      })).pipe(Effect.provide(Connected.layer)),
    30_000
  )

  it.live(
    "S4.48 PROX-06 PROX-09 goes on through the proxy, and its client holds no token of the provider",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { api, bootToken, resource, url } = yield* Connected
        const description = yield* api.call("GET", "/v1/servers/notes")
        const { server: _, ...server } = description.json as Record<string, unknown>
        assert.strictEqual(
          (yield* api.call("PUT", "/v1/servers/notes", { body: { ...server, tokens: "proxied" } })).status,
          200
        )
        assert.strictEqual(server["resource"], resource.url)
        yield* session({ token: bootToken }, `${url}/v1/proxy/notes`)
        assert.strictEqual((yield* api.call("POST", "/v1/connections/notes/token", { body: {} })).status, 403)
      })).pipe(Effect.provide(Connected.layer)),
    30_000
  )
})
