import { assert, describe, it } from "@effect/vitest"
import * as Promises from "@valetkey/client/Promises"
import * as Canary from "@valetkey/testing/Canary"
import * as Emitted from "@valetkey/testing/Emitted"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { dirname, join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

/** Connects `fake` at a provider whose person answers at once. */
const connected = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const provider = yield* FakeProvider.make()
  const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"])
  const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
  yield* UserAgent.make().authorize(url)
  const ended = yield* running.ended
  return { valetkey, provider, ended }
})

/** A port that was free a moment ago. */
const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

describe("connect", () => {
  it.live("S2.2 S2.3 S2.25 gets a person's consent at a real provider and hands out tokens that it accepts", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* OidcProvider.make()
      const resource = yield* McpResource.make(provider)
      const running = yield* valetkey.start(["connect", resource.url, "--name", "mcp", "--no-browser"])
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      const page = yield* UserAgent.make().authorize(url)
      assert.strictEqual(page.status, 200)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stdout, "Connected to mcp")
      assert.include(ended.stderr, "Starting the Valetkey server")
      const token = yield* valetkey.run(["token", "mcp"])
      assert.strictEqual(token.code, 0)
      const answer = yield* Effect.promise(() =>
        fetch(resource.url, {
          method: "POST",
          headers: { authorization: `Bearer ${token.stdout.trim()}`, accept: "application/json, text/event-stream" }
        })
      )
      assert.notStrictEqual(answer.status, 401)
      assert.strictEqual(resource.authorized(), 1)
    })))

  it.live("S4.76 keeps a session of the official MCP client alive when its token is withdrawn, and asks nobody", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* OidcProvider.make()
      const resource = yield* McpResource.make(provider)
      const running = yield* valetkey.start(["connect", resource.url, "--name", "mcp", "--no-browser"])
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      yield* UserAgent.make().authorize(url)
      assert.strictEqual((yield* running.ended).code, 0)

      const client = Promises.connect({ socket: valetkey.home.socket, tokenFile: valetkey.home.token })
      yield* Effect.addFinalizer(() => Effect.promise(() => client.close()))
      const statuses: Array<number> = []
      const call = async (input: string | URL, init: RequestInit | undefined, token: string) => {
        const headers = new Headers(init?.headers)
        headers.set("authorization", `Bearer ${token}`)
        const response = await fetch(input, { ...init, headers })
        statuses.push(response.status)
        return response
      }
      const who = yield* McpClient.whoami(resource.url, {
        fetch: async (input, init) => {
          const { accessToken } = await client.token("mcp")
          const response = await call(input, init, accessToken)
          if (statuses.length === 1) await Effect.runPromise(provider.expireAccessTokens)
          if (response.status !== 401) return response
          return call(input, init, (await client.token("mcp", { rejected: accessToken })).accessToken)
        }
      })
      assert.strictEqual(who.sub, "alice")
      assert.deepStrictEqual([statuses[0], statuses[1]], [200, 401])
      assert.strictEqual(statuses.filter((status) => status === 401).length, 1)
      assert.strictEqual((yield* valetkey.json(["status", "mcp"])).code, 0)
      assert.strictEqual((yield* Effect.promise(() => client.token("mcp"))).generation, 2)
    })))

  it.live("S2.25 DAEM-08 opens the browser with the URL as its one argument and no shell", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { browser } = valetkey
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], { BROWSER: browser.path })
      yield* Valetkey.until(() => browser.opened().length > 0)
      const [argv = []] = browser.opened()
      assert.strictEqual(argv.length, 1)
      const url = new URL(argv[0] ?? "")
      assert.strictEqual(url.origin, provider.origin)
      yield* UserAgent.make().authorize(url)
      assert.strictEqual((yield* running.ended).code, 0)
    })))

  it.live("CRY-19 gives a browser and a command none of the keys and credentials in its own environment", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const key = randomBytes(32).toString("base64")
      Canary.register("root_key", key)
      const env = {
        VALETKEY_KEYS: `1:${key}`,
        VALETKEY_JWT_SECRET: Canary.makeText("jwt_secret")
      }
      const [environ, opened, script] = ["environ", "opened-url", "environ.cjs"].map((name) =>
        join(dirname(valetkey.home.data), name)
      ) as [string, string, string]
      const lines = [
        `#!${process.execPath}`,
        "const { readFileSync, writeFileSync } = require(\"node:fs\")",
        `writeFileSync(${JSON.stringify(environ)}, readFileSync("/proc/self/environ"))`,
        `if (process.argv[2]) writeFileSync(${JSON.stringify(opened)}, process.argv[2])`
      ]
      writeFileSync(script, lines.join("\n"), { mode: 0o700 })
      const inherited = Effect.sync(() => readFileSync(environ, "utf8"))
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], {
        ...env,
        BROWSER: script
      })
      yield* Valetkey.until(() => existsSync(opened) && readFileSync(opened, "utf8") !== "")
      const seen = [yield* inherited]
      yield* UserAgent.make().authorize(readFileSync(opened, "utf8"))
      assert.strictEqual((yield* running.ended).code, 0)
      assert.strictEqual((yield* valetkey.run(["exec", "fake", "--", script], env)).code, 0)
      seen.push(yield* inherited)
      for (const environment of seen) {
        assert.include(environment, "PATH=")
        assert.notInclude(environment, "VALETKEY_KEYS")
        assert.notInclude(environment, "VALETKEY_JWT_SECRET")
      }
    })))

  it.live("S2.11 says that a live connection needs nobody and opens nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, valetkey } = yield* connected
      const { browser } = valetkey
      const again = yield* valetkey.json(["connect", provider.resource, "--name", "fake"], { BROWSER: browser.path })
      assert.strictEqual(again.code, 0)
      assert.strictEqual(again.document["alreadyConnected"], true)
      assert.deepStrictEqual(browser.opened(), [])
    })))

  it.live("S2.35 S2.36 DAEM-10 prints one document with the granted scopes when consent is given", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { browser } = valetkey
      const running = yield* valetkey.start([
        "connect",
        provider.resource,
        "--name",
        "fake",
        "--scope",
        "read",
        "--json"
      ], {
        BROWSER: browser.path
      })
      yield* Valetkey.until(() => browser.opened().length > 0)
      yield* UserAgent.make().authorize(browser.opened()[0]?.[0] ?? "")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      const document = Valetkey.theDocument(ended)
      assert.deepStrictEqual(
        { ...document, connection: undefined, flowId: undefined },
        {
          ok: true,
          server: "fake",
          status: "completed",
          grantedScopes: ["read"],
          connection: undefined,
          flowId: undefined
        }
      )
    })))

  it.live("S2.37 defers with --no-browser --json: the URL in one document, and the server finishes the flow", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const deferred = yield* valetkey.json(["connect", provider.resource, "--name", "fake", "--no-browser"])
      assert.strictEqual(deferred.code, 0)
      assert.sameMembers(Object.keys(deferred.document), [
        "ok",
        "deferred",
        "server",
        "flowId",
        "status",
        "transport",
        "authorizationUrl",
        "expiresAt"
      ])
      yield* UserAgent.make().authorize(String(deferred.document["authorizationUrl"]))
      const status = yield* valetkey.json(["status", "fake"])
      assert.propertyVal(status.document["connection"], "status", "active")
    })))

  it.live("S2.1 starts a flow whose callback comes in at the server's public URL, and the server completes it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const port = yield* freePort
      const env = { VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`, VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${port}` }
      const running = yield* valetkey.start(
        ["connect", provider.resource, "--name", "fake", "--no-browser", "--transport", "gateway"],
        env
      )
      const [code] = yield* running.saw("stderr", /[B-Z]{4}-[B-Z]{4}/)
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      assert.match(url, new RegExp(`^http://127\\.0\\.0\\.1:${port}/connect/[\\w-]{43}$`))
      const person = UserAgent.make()
      assert.include((yield* person.request(url)).body, code)
      const page = yield* person.authorize(url)
      assert.strictEqual(page.url.port, String(port))
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stdout, "Connected to fake")
    })))

  it.live("S2.37 defers over the gateway with the URL of the connect page and its compare code", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const port = yield* freePort
      const env = { VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`, VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${port}` }
      const running = yield* valetkey.start(
        ["connect", provider.resource, "--name", "fake", "--no-browser", "--transport", "gateway", "--json"],
        env
      )
      const { code, stdout } = yield* running.ended
      assert.strictEqual(code, 0)
      const deferred = JSON.parse(stdout)
      assert.notProperty(deferred, "authorizationUrl")
      assert.match(deferred.compareCode, /^[B-Z]{4}-[B-Z]{4}$/)
      assert.include((yield* UserAgent.make().request(deferred.connectUrl)).body, deferred.compareCode)
    })))

  it.live("S2.26 DAEM-12 cancels the flow on Ctrl+C and exits with 130", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"])
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      yield* running.saw("stderr", /Ctrl\+C/)
      running.signal("SIGINT")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 130)
      assert.include(ended.stderr, "Cancelled")
      const redirect = new URL(new URL(url).searchParams.get("redirect_uri") ?? "")
      const late = yield* Effect.exit(UserAgent.make().request(redirect))
      assert.strictEqual(late._tag, "Failure", "the callback listener is closed")
      const next = yield* valetkey.json(["connect", "fake", "--no-browser"])
      assert.strictEqual(next.document["deferred"], true, "the slot is free")
    })))

  it.live("DAEM-12 cancels the flow when its terminal is closed", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const running = yield* valetkey.atTerminal(["connect", provider.resource, "--name", "fake", "--no-browser"])
      yield* running.saw("stdout", /Ctrl\+C/)
      assert.strictEqual((yield* valetkey.json(["connect", "fake", "--no-browser"])).error.code, "flow_conflict")
      // Who holds the terminal is gone, and with it the terminal: the system tells those in it.
      running.signal("SIGKILL")
      yield* Valetkey.eventually(
        Effect.map(
          valetkey.json(["connect", "fake", "--no-browser"]),
          ({ document }) => document["deferred"] === true
        )
      )
    })))

  it.live("S2.38 I25 prints one document and exits with 130 when it is interrupted", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { browser } = valetkey
      const running = yield* valetkey.start(["connect", provider.resource, "--json"], { BROWSER: browser.path })
      yield* running.saw("stderr", /Ctrl\+C/)
      running.signal("SIGTERM")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 130)
      assert.strictEqual(Valetkey.theError(ended).code, "interrupted")
    })))

  it.live("S2.24 S2.32 surfaces the provider's refusal with its fixed sentence and exits with 1", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make({ consent: { error: "access_denied" } })
      const { browser } = valetkey
      const running = yield* valetkey.start(["connect", provider.resource, "--json"], { BROWSER: browser.path })
      yield* Valetkey.until(() => browser.opened().length > 0)
      yield* UserAgent.make().authorize(browser.opened()[0]?.[0] ?? "")
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 1)
      const error = Valetkey.theError(ended)
      assert.strictEqual(error.code, "access_denied")
      assert.include(error.message, "Access was denied")
    })))

  it.live("S2.22 exits with 5 when nobody consents within the flow's time", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { browser } = valetkey
      const ended = yield* valetkey.json(["connect", provider.resource], {
        BROWSER: browser.path,
        VALETKEY_FLOW_TTL: "1s"
      })
      assert.strictEqual(ended.code, 5, ended.stdout)
      assert.strictEqual(ended.error.code, "flow_expired")
    })))

  it.live("S2.22 waits for as long as the server does, whatever the clock of the command says", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      yield* valetkey.serve()
      const ahead = join(dirname(valetkey.home.data), "ahead.cjs")
      writeFileSync(ahead, "const now = Date.now; Date.now = () => now() + 7_200_000")
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"], {
        NODE_OPTIONS: `--require=${ahead}`
      })
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      yield* running.saw("stderr", /Ctrl\+C/)
      yield* UserAgent.make().authorize(url)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stdout, "Connected to fake")
    })))

  it.live("S1.9 S2.10 a second start says that one is open, and --replace takes over", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const first = yield* valetkey.start(["connect", provider.resource, "--name", "fake", "--no-browser"])
      yield* first.saw("stdout", /https?:\/\/\S+/)
      const second = yield* valetkey.json(["connect", "fake", "--no-browser"])
      assert.strictEqual(second.code, 1)
      assert.strictEqual(second.error.code, "flow_conflict")
      const third = yield* valetkey.json(["connect", "fake", "--no-browser", "--replace"])
      assert.strictEqual(third.code, 0)
      assert.strictEqual((yield* first.ended).code, 1)
    })))

  it.live("S2.12 DAEM-07 leaves no secret in the arguments or the environment of the server", () =>
    Effect.scoped(Effect.gen(function*() {
      const { ended, valetkey } = yield* connected
      assert.strictEqual(ended.code, 0, ended.stderr)
      const pid = valetkey.serverPid
      for (const file of ["cmdline", "environ"]) Emitted.record(file, readFileSync(`/proc/${pid}/${file}`))
    })))
})
