import { assert, describe, it } from "@effect/vitest"
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { locate } from "@valetkey/client/Home"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import type { AskPerson, ConsentRequest } from "@valetkey/mcp/Consent"
import * as EffectMcpClient from "@valetkey/mcp/EffectMcpClient"
import * as McpAuthProvider from "@valetkey/mcp/McpAuthProvider"
import * as McpFetch from "@valetkey/mcp/McpFetch"
import * as OAuthClientProvider from "@valetkey/mcp/OAuthClientProvider"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Layer, ManagedRuntime } from "effect"
import * as EffectClient from "effect/ai/McpClient"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** A local server, and programs that each have a client of their own to it. */
const installation = Effect.gen(function*() {
  const home = yield* TemporaryDirectory.make
  yield* Effect.orDie(Serving.start(Command.environment(home)))
  const { socket, token: tokenFile } = locate({ VALETKEY_HOME: home })
  const layer = ValetkeyClient.layerSocket({ socket, tokenFile })
  const program = Effect.gen(function*() {
    const runtime = yield* Effect.acquireRelease(
      Effect.sync(() => ManagedRuntime.make(layer)),
      (runtime) => Effect.promise(() => runtime.dispose())
    )
    const run: McpFetch.Run = (effect, signal) => runtime.runPromise(effect, signal === undefined ? {} : { signal })
    return run
  })
  const run = yield* program
  const describe = (resource: string) =>
    Effect.promise(() => run(ValetkeyClient.use((valetkey) => valetkey.putServer("notes", { resource }))))
  return { describe, layer, program, run }
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

/** The same call through the client of version 2. */
const whoamiOfVersion2 = (url: string, authProvider: OAuthClientProvider.OAuthClientProvider) =>
  Effect.tryPromise({
    try: async () => {
      const client = new Client({ name: "official", version: "2.0.0" })
      try {
        await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }))
        const { content } = await client.callTool({ name: "whoami", arguments: {} })
        return JSON.parse((content as ReadonlyArray<{ readonly text: string }>)[0]?.text ?? "{}") as McpClient.Identity
      } finally {
        await client.close()
      }
    },
    catch: (cause) => new McpClient.McpCallFailed({ cause })
  })

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

  it.live.each(
    [
      [
        "1",
        (url: string, authProvider: OAuthClientProvider.OAuthClientProvider) => McpClient.whoami(url, { authProvider })
      ],
      ["2", whoamiOfVersion2]
    ] as const
  )(
    "of version %s speaks no OAuth of its own with the OAuthClientProvider, and makes a refused request again",
    ([_, whoami]) =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, run } = yield* installation
        const provider = yield* OidcProvider.make()
        const resource = yield* McpResource.make(provider)
        yield* describe(resource.url)
        const { ask, asked } = consenting()
        const left = () => provider.log.filter(({ kind }) => kind !== "introspection").length
        const ours = OAuthClientProvider.make(run, { server: "notes", ask })
        const led: Array<string> = []
        const authProvider: OAuthClientProvider.OAuthClientProvider = {
          ...ours,
          redirectToAuthorization: (url) => {
            led.push(url.host)
            return ours.redirectToAuthorization(url)
          }
        }
        const call = Effect.suspend(() => whoami(resource.url, authProvider))

        assert.isUndefined(yield* Effect.promise(() => authProvider.tokens()))
        assert.strictEqual((yield* Effect.flip(call)).cause?.constructor.name, "UnauthorizedError")
        assert.strictEqual(asked.length, 1)
        // What Valetkey itself asked: to be registered, and for the tokens.
        assert.strictEqual(left(), 2)
        assert.strictEqual((yield* call).sub, "alice")
        resource.rejectNext(1)
        assert.strictEqual((yield* Effect.flip(call)).cause?.constructor.name, "UnauthorizedError")
        assert.strictEqual((yield* call).sub, "alice")
        assert.strictEqual(left(), 3)
        assert.strictEqual(asked.length, 1)
        assert.deepStrictEqual(led, ["valetkey.invalid", "valetkey.invalid"])

        const given = yield* Effect.promise(() => authProvider.tokens())
        assert.notProperty(given, "refresh_token")
        assert.isAbove(given?.expires_in ?? 0, 0)
        const transport = new StreamableHTTPClientTransport(new URL(resource.url), { authProvider })
        const finished = yield* Effect.promise(() => transport.finishAuth("code").catch((error: unknown) => error))
        assert.deepInclude(finished, { _tag: "FlowNotOurs", code: "flow_not_ours" })
        assert.strictEqual(left(), 3)
      })),
    30_000
  )

  it.live(
    "is asked for the scopes that an OAuthClientProvider's server wants besides, once for all requests that were refused together",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, run } = yield* installation
        const provider = yield* FakeProvider.make()
        yield* describe(provider.resource)
        const { ask, asked } = consenting()
        const authProvider = OAuthClientProvider.make(run, { server: "notes", ask })
        const refusal = (scope: string) => new URL(`https://valetkey.invalid/authorize?scope=${scope}`)
        yield* Effect.promise(() => authProvider.redirectToAuthorization(refusal("mcp:read")))
        assert.deepStrictEqual(asked.map(({ scopes }) => scopes), [["mcp:read"]])
        yield* Effect.promise(() => authProvider.tokens())
        yield* Effect.promise(() =>
          Promise.all([1, 2, 3].map(() => authProvider.redirectToAuthorization(refusal("mcp:write"))))
        )
        assert.deepStrictEqual(asked.map(({ scopes }) => scopes), [["mcp:read"], ["mcp:read", "mcp:write"]])
        assert.throws(() => authProvider.saveTokens(), OAuthClientProvider.FlowNotOurs)
      })),
    30_000
  )

  it.live(
    "may be Effect's own, whose layer asks before it connects",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { describe, layer } = yield* installation
        const provider = yield* OidcProvider.make()
        const resource = yield* McpResource.make(provider, { sessions: true })
        yield* describe(resource.url)
        const { ask, asked } = consenting()
        const use = (ask?: AskPerson) =>
          Effect.gen(function*() {
            const client = yield* EffectClient.McpClient
            const [tool] = yield* client.listTools()
            resource.rejectNext(1)
            return yield* client.callTool({ tool: tool!, arguments: {} })
          }).pipe(
            Effect.provide(
              EffectMcpClient.layer({
                server: "notes",
                name: "effect",
                version: "1.0.0",
                protocol: McpProtocol.v2025_11_25,
                ask
              }).pipe(Layer.provide([layer, FetchHttpClient.layer]))
            )
          )
        assert.deepInclude(yield* Effect.flip(use()), { code: "connection_not_found" })
        const [content] = (yield* use(ask)).content
        assert.include(JSON.stringify(content), "alice")
        assert.strictEqual(asked.length, 1)
        assert.strictEqual(new Set(resource.tokens).size, 2)
        assert.strictEqual(resource.sessions(), 0)
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
