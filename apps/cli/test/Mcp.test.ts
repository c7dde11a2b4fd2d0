import { assert, describe, it } from "@effect/vitest"
import * as Emitted from "@valetkey/testing/Emitted"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { variable } from "./support/bundle.ts"
import * as Valetkey from "./support/Valetkey.ts"

/** An installation, a provider, and a server with sessions that can end before they do. */
const world = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const provider = yield* OidcProvider.make({ rotateRefreshTokens: true })
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const resource = yield* Scope.provide(McpResource.make(provider, { sessions: true }), scope)
  const connect = Effect.gen(function*() {
    const running = yield* valetkey.start(["connect", resource.url, "--name", "notes", "--no-browser"])
    const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
    yield* UserAgent.make().authorize(url)
    assert.strictEqual((yield* running.ended).code, 0)
  })
  const bridge = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
    McpClient.openProgram({
      command: process.execPath,
      args: [process.env[variable] ?? "", "mcp", ...args],
      env: { ...valetkey.env, ...env },
      talk: (text) => Emitted.record("stderr", text)
    })
  const refreshes = () => provider.log.filter(({ grantType }) => grantType === "refresh_token").length
  return { bridge, connect, provider, refreshes, resource, scope, valetkey }
})

/** A call of `report` that has told of its progress. */
const reporting = (client: McpClient.Session, signal?: AbortSignal) =>
  Effect.gen(function*() {
    const told = yield* Deferred.make<void>()
    const report = yield* Effect.forkChild(client.report(() => Deferred.doneUnsafe(told, Effect.void), signal))
    yield* Deferred.await(told)
    return report
  })

const initialize = JSON.stringify({
  jsonrpc: "2.0",
  id: "first",
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "lines", version: "1" } }
})

interface Answer {
  readonly id: string | null
  readonly result?: { readonly serverInfo: { readonly name: string } }
  readonly error?: {
    readonly code: number
    readonly message: string
    readonly data: { readonly code: string; readonly authorizationUrl: string }
  }
}

const answersOf = ({ stdout }: Valetkey.Ended) =>
  stdout.split("\n").slice(0, -1).map((line) => JSON.parse(line) as Answer)

describe("mcp", () => {
  it.live("bridges the official client: list, call, notifications, a token that ends, a session that is lost, the end", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bridge, connect, provider, refreshes, resource } = yield* world
      yield* connect
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* bridge(["notes"])
        assert.deepStrictEqual(yield* client.tools, ["whoami", "report"])
        assert.strictEqual((yield* client.whoami).sub, "alice")
        const report = yield* reporting(client)
        resource.release()
        assert.strictEqual(yield* Fiber.join(report), "reported")

        yield* Valetkey.until(() => resource.listening() === 1)
        resource.announce("later")
        yield* client.toolsChanged
        assert.include(yield* client.tools, "later")

        yield* provider.expireAccessTokens
        assert.strictEqual((yield* client.whoami).sub, "alice")
        assert.strictEqual(refreshes(), 1)

        resource.forget()
        assert.strictEqual((yield* client.whoami).sub, "alice")
        assert.strictEqual(resource.sessions(), 1)
        // The tools of the new session are others, and the client is told.
        yield* client.toolsChanged
        assert.deepStrictEqual(yield* client.tools, ["whoami", "report"])
        yield* Valetkey.until(() => resource.listening() === 1)
        resource.announce("again")
        yield* client.toolsChanged
      }))
      assert.strictEqual(resource.sessions(), 0)
      assert.strictEqual(resource.ended(), 1)
    })))

  it.live("outlives a restart of the MCP server, and says what became of a call that was open", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bridge, connect, provider, resource, scope } = yield* world
      yield* connect
      const client = yield* bridge(["notes"])
      const report = yield* reporting(client)
      yield* Scope.close(scope, Exit.void)
      // Asked while nobody is there.
      const asked = yield* Effect.forkChild(client.whoami)
      const other = yield* McpResource.make(provider, { sessions: true, port: Number(new URL(resource.url).port) })
      assert.strictEqual((yield* Fiber.join(asked)).sub, "alice")
      assert.strictEqual(other.sessions(), 1)
      assert.strictEqual(other.calls(), 1)
      const lost = yield* Effect.flip(Fiber.join(report))
      assert.include(String((lost.cause as Error).message), "broke off before it answered")
    })))

  it.live("resumes an answer whose stream broke off, and passes on that a call was given up", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bridge, connect, resource } = yield* world
      yield* connect
      const client = yield* bridge(["notes"])
      const report = yield* reporting(client)
      resource.breakOff()
      resource.release()
      assert.strictEqual(yield* Fiber.join(report), "reported")
      assert.strictEqual(resource.calls(), 1)

      const abort = new AbortController()
      const given = yield* reporting(client, abort.signal)
      abort.abort()
      yield* Effect.flip(Fiber.join(given))
      yield* Valetkey.until(() => resource.cancelled() === 1)
      assert.strictEqual((yield* client.whoami).sub, "alice")
    })))

  it.live("shares one refresh among the bridges of one connection", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bridge, connect, provider, refreshes, resource } = yield* world
      yield* connect
      const [one, other] = yield* Effect.all([bridge(["notes"]), bridge([resource.url])], { concurrency: 2 })
      yield* provider.expireAccessTokens
      const who = yield* Effect.all([one.whoami, other.whoami, one.whoami, other.whoami], { concurrency: 4 })
      assert.deepStrictEqual(who.map(({ sub }) => sub), ["alice", "alice", "alice", "alice"])
      assert.strictEqual(refreshes(), 1)
      assert.strictEqual(provider.reuseDetected(), 0)
    })))

  it.live("opens the browser for a server that nobody is connected to, and answers when the consent is there", () =>
    Effect.scoped(Effect.gen(function*() {
      const { bridge, resource, valetkey } = yield* world
      const { opened, path } = valetkey.browser
      const opening = yield* Effect.forkChild(bridge([resource.url], { BROWSER: path }))
      yield* Valetkey.until(() => opened().length === 1)
      assert.isUndefined(opening.pollUnsafe())
      yield* UserAgent.make().authorize(opened()[0]?.[0] ?? "")
      const client = yield* Fiber.join(opening)
      assert.strictEqual((yield* client.whoami).sub, "alice")
      assert.strictEqual(opened().length, 1)
    })))

  it.live("answers with the URL where no browser can be opened, and takes the consent when it came", () =>
    Effect.scoped(Effect.gen(function*() {
      const { resource, valetkey } = yield* world
      const asked = yield* valetkey.run(["mcp", resource.url, "--no-browser"], {}, `${initialize}\nnonsense\n`)
      assert.strictEqual(asked.code, 0, asked.stderr)
      const answers = answersOf(asked)
      assert.deepStrictEqual(answers.map(({ id }) => id).sort(), ["first", null])
      const { error } = answers.find(({ id }) => id === "first")!
      assert.isDefined(error)
      assert.strictEqual(error.code, -32000)
      assert.strictEqual(error.data.code, "reauthorization_required")
      assert.include(error.message, error.data.authorizationUrl)
      // The URL stays good: nobody is given another one for the same consent.
      const [other] = answersOf(yield* valetkey.run(["mcp", resource.url, "--no-browser"], {}, initialize))
      assert.include(other?.error?.message, "waited for already")
      yield* UserAgent.make().authorize(error.data.authorizationUrl)
      const served = yield* valetkey.run(["mcp", resource.url, "--no-browser"], {}, initialize)
      const [answer] = answersOf(served)
      assert.deepStrictEqual([answer?.id, answer?.result?.serverInfo.name], ["first", "mcp-resource"])
      assert.strictEqual(resource.sessions(), 0)
    })))

  it.live("says in an answer that its server cannot be reached, and exits with 3", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.run(["mcp", "notes", "--no-start"], {}, `${initialize}\n`)
      assert.strictEqual(ended.code, 3, ended.stderr)
      const [answer] = answersOf(ended)
      assert.deepStrictEqual([answer?.id, answer?.error?.data.code], ["first", "server_unreachable"])
    })))
})
