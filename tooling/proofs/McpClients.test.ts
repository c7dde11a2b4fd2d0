import { assert, describe, it } from "@effect/vitest"
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { locate } from "@valetkey/client/Home"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import type { ConsentRequest } from "@valetkey/mcp/Consent"
import * as McpAuthProvider from "@valetkey/mcp/McpAuthProvider"
import * as McpFetch from "@valetkey/mcp/McpFetch"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, ManagedRuntime } from "effect"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** A local server, and programs that each have a client of their own to it. */
const installation = Effect.gen(function*() {
  const home = yield* TemporaryDirectory.make
  yield* Effect.orDie(Serving.start(Command.environment(home)))
  const { socket, token: tokenFile } = locate({ VALETKEY_HOME: home })
  const program = Effect.gen(function*() {
    const runtime = yield* Effect.acquireRelease(
      Effect.sync(() => ManagedRuntime.make(ValetkeyClient.layerSocket({ socket, tokenFile }))),
      (runtime) => Effect.promise(() => runtime.dispose())
    )
    const run: McpFetch.Run = (effect, signal) => runtime.runPromise(effect, signal === undefined ? {} : { signal })
    return run
  })
  const run = yield* program
  const describe = (resource: string) =>
    Effect.promise(() => run(ValetkeyClient.use((valetkey) => valetkey.putServer("notes", { resource }))))
  return { describe, program, run }
})

/** A person who consents wherever they are sent, and what they were asked. */
const consenting = () => {
  const asked: Array<ConsentRequest> = []
  const person = UserAgent.make()
  const ask = async (request: ConsentRequest) => {
    asked.push(request)
    await Effect.runPromise(person.authorize(request.url))
  }
  return { ask, asked }
}

const challenge = (scope: string) =>
  Reply.raw({ status: 401, headers: { "www-authenticate": `Bearer scope="${scope}"` } })

const insufficient = (scope: string) =>
  Reply.raw({ status: 403, headers: { "www-authenticate": `Bearer error="insufficient_scope", scope="${scope}"` } })

describe("an MCP client over Valetkey", () => {
  it.live(
    "asks the person once, for all programs of the machine, and never when the server ends a token",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, program, run } = yield* installation
        const provider = yield* OidcProvider.make()
        const resource = yield* McpResource.make(provider)
        yield* describe(resource.url)
        const { ask, asked } = consenting()
        const fetch = McpFetch.make(run, { server: "notes", ask })
        assert.strictEqual((yield* McpClient.whoami(resource.url, { fetch })).sub, "alice")
        assert.strictEqual(asked.length, 1)

        const other = McpFetch.make(yield* program, { server: "notes" })
        assert.strictEqual((yield* McpClient.whoami(resource.url, { fetch: other })).sub, "alice")
        resource.rejectNext(1)
        assert.strictEqual((yield* McpClient.whoami(resource.url, { fetch: other })).sub, "alice")
        assert.strictEqual(asked.length, 1)
      })),
    30_000
  )

  it.live(
    "is led to the consent by an auth provider of the official client too, and gets a new token after a 401",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, run } = yield* installation
        const provider = yield* OidcProvider.make()
        const resource = yield* McpResource.make(provider)
        yield* describe(resource.url)
        const { ask, asked } = consenting()
        const authProvider = McpAuthProvider.make(run, { server: "notes", ask })
        yield* Effect.promise(async () => {
          const client = new Client({ name: "official", version: "1.0.0" })
          await client.connect(new StreamableHTTPClientTransport(new URL(resource.url), { authProvider }))
          try {
            await client.callTool({ name: "whoami", arguments: {} })
            resource.rejectNext(1)
            await client.callTool({ name: "whoami", arguments: {} })
          } finally {
            await client.close()
          }
        })
        assert.strictEqual(asked.length, 1)
        assert.strictEqual(new Set(resource.tokens).size, 2)
      })),
    30_000
  )

  it.live(
    "asks one person once although many requests need it",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, run } = yield* installation
        const provider = yield* FakeProvider.make()
        yield* describe(provider.resource)
        const { ask, asked } = consenting()
        const fetch = McpFetch.make(run, { server: "notes", ask })
        const answers = yield* Effect.promise(() =>
          Promise.all(Array.from({ length: 20 }, () => fetch(provider.resource)))
        )
        assert.deepStrictEqual([...new Set(answers.map(({ status }) => status))], [200])
        assert.strictEqual(asked.length, 1)
        assert.strictEqual(provider.requests("token").length, 1)
      })),
    30_000
  )

  it.live(
    "DISC-14 asks for the scopes that the server wants besides those it has, and gives up on one that is never satisfied",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, run } = yield* installation
        const provider = yield* FakeProvider.make()
        yield* describe(provider.resource)
        const { ask, asked } = consenting()
        const fetch = McpFetch.make(run, { server: "notes", ask })
        // The request without a token, the server's own look at the resource, and the request with one.
        provider.script("resource", [challenge("mcp:read"), challenge("mcp:read"), insufficient("mcp:write")])
        const answer = yield* Effect.promise(() => fetch(provider.resource))
        assert.strictEqual(answer.status, 200)
        assert.deepStrictEqual(asked.map(({ scopes }) => scopes), [["mcp:read"], ["mcp:read", "mcp:write"]])

        provider.always("resource", insufficient("mcp:admin"))
        const refused = yield* Effect.promise(() => fetch(provider.resource).catch((error: unknown) => error))
        assert.deepInclude(refused, { _tag: "ScopeInsufficient", code: "insufficient_scope" })
        assert.strictEqual(asked.length, 2 + 3)
      })),
    30_000
  )

  it.live(
    "is told why there is no connection when the person refuses, and what is missing when nobody is there to ask",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, run } = yield* installation
        const provider = yield* FakeProvider.make()
        yield* describe(provider.resource)
        const alone = McpFetch.make(run, { server: "notes" })
        const missing = yield* Effect.promise(() => alone(provider.resource).catch((error: unknown) => error))
        assert.deepInclude(missing, { code: "connection_not_found" })

        const person = UserAgent.make()
        const refusing = McpFetch.make(run, {
          server: "notes",
          ask: async ({ url }) => {
            const { searchParams } = new URL(url)
            const callback = new URL(searchParams.get("redirect_uri")!)
            callback.search = new URLSearchParams({
              state: searchParams.get("state")!,
              iss: provider.issuer,
              error: "access_denied"
            }).toString()
            await Effect.runPromise(person.request(callback))
          }
        })
        const refused = yield* Effect.promise(() => refusing(provider.resource).catch((error: unknown) => error))
        assert.deepInclude(refused, { _tag: "ConsentFailed", code: "consent_failed", reason: "access_denied" })
      })),
    30_000
  )
})
