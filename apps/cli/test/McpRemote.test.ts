import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

/** What mcp-remote of one version holds for a URL, in the files that it writes. */
const store = (directory: string, url: string, options: {
  readonly version?: string
  readonly resource?: string
  readonly refreshToken?: Redacted.Redacted
  readonly client?: Readonly<Record<string, unknown>> | null
  readonly pid?: number
  readonly writtenAt?: number
}) => {
  const { client = { client_id: "fake-client", redirect_uris: ["http://127.0.0.1:3334/oauth/callback"] } } = options
  const home = join(directory, `mcp-remote-${options.version ?? "0.1.38"}`)
  mkdirSync(home, { recursive: true })
  const name = createHash("md5").update([url, options.resource ?? []].flat().join("|")).digest("hex")
  const file = join(home, `${name}_tokens.json`)
  const tokens = {
    access_token: "opaque",
    token_type: "Bearer",
    expires_in: 3600,
    scope: "mcp:read",
    ...(options.refreshToken === undefined ? {} : { refresh_token: Redacted.value(options.refreshToken) })
  }
  writeFileSync(file, JSON.stringify(tokens, undefined, 2), { mode: 0o600 })
  if (client !== null) writeFileSync(join(home, `${name}_client_info.json`), JSON.stringify(client))
  if (options.pid !== undefined) {
    writeFileSync(join(home, `${name}_lock.json`), JSON.stringify({ pid: options.pid, port: 3334, timestamp: 1 }))
  }
  if (options.writtenAt !== undefined) utimesSync(file, options.writtenAt, options.writtenAt)
  return file
}

const world = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const provider = yield* FakeProvider.make()
  const directory = join(dirname(valetkey.home.data), ".mcp-auth")
  const take = (...args: ReadonlyArray<string>) =>
    valetkey.json(["import", "--from", "mcp-remote", "--dir", directory, ...args])
  return { valetkey, provider, directory, take }
})

const reportOf = (
  { document, error }: { readonly document: Valetkey.Document; readonly error: Valetkey.Failure }
): Readonly<Record<string, unknown>> =>
  ((document["connections"] ?? (error as unknown as Valetkey.Document)["connections"]) as ReadonlyArray<
    Readonly<Record<string, unknown>>
  >)[0]!

describe("coming from mcp-remote", () => {
  it.live("takes over what it holds: one redemption, then its file is out of its sight", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, provider, take, valetkey } = yield* world
      const { refreshToken } = provider.grant()
      const old = store(directory, provider.resource, {
        version: "0.1.16",
        refreshToken: provider.grant().refreshToken,
        writtenAt: 1_700_000_000
      })
      const file = store(directory, provider.resource, { refreshToken })
      const before = readFileSync(file, "utf8")
      const ended = yield* take(provider.resource, "--name", "fake")
      assert.strictEqual(ended.code, 0, ended.stdout)
      assert.deepStrictEqual(reportOf(ended), {
        server: "fake",
        imported: true,
        definition: "created",
        taken: `${file}.taken-by-valetkey`
      })
      assert.include(ended.stderr, "mcp-remote asks for consent again")
      assert.strictEqual(provider.tokenCount(refreshToken), 1)
      assert.isFalse(existsSync(file))
      assert.strictEqual(readFileSync(`${file}.taken-by-valetkey`, "utf8"), before)
      assert.isTrue(existsSync(old))
      assert.deepStrictEqual(readdirSync(dirname(file)).filter((name) => name.endsWith("_tokens.json")), [])
      const { stdout } = yield* valetkey.run(["token", "fake"])
      assert.isTrue(provider.isActive(stdout.trim()))
      assert.strictEqual(provider.maxTokenCount(), 1)
      const { document } = yield* valetkey.json(["status", "fake"])
      assert.deepInclude(document["connection"], { issuer: provider.issuer, clientId: "fake-client", status: "active" })
    })))

  it.live("leaves its file alone when the redemption fails or nobody knows how it ended, and goes on with the next", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, provider, take, valetkey } = yield* world
      const urls = ["a", "b", "c", "d"].map((path) => `${provider.resource}/${path}`)
      const files = urls.map((url) => store(directory, url, { refreshToken: provider.grant().refreshToken }))
      provider.script("token", [
        Reply.error("invalid_grant"),
        Reply.json(503, {}),
        // Twice, as an unknown outcome may be tried once more.
        Reply.processThenReset,
        Reply.processThenReset
      ])
      const ended = yield* take(...urls)
      assert.deepStrictEqual([ended.code, ended.error.code], [1, "import_incomplete"])
      const reports = (ended.error as unknown as {
        readonly connections: ReadonlyArray<{ readonly code?: string; readonly message?: string }>
      }).connections
      assert.deepStrictEqual(reports.map(({ code }) => code), [
        "deposit_refused",
        "authorization_server_unavailable",
        "deposit_refused",
        undefined
      ])
      assert.include(reports[2]?.message, "may be used up")
      assert.deepStrictEqual(files.map((file) => existsSync(file)), [true, true, true, false])
      const { document } = yield* valetkey.json(["list"])
      assert.strictEqual((document["connections"] as ReadonlyArray<unknown>).length, 1)
    })))

  it.live("says so when mcp-remote wrote its file meanwhile: both use the grant now", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, provider, take, valetkey } = yield* world
      const file = store(directory, provider.resource, { refreshToken: provider.grant().refreshToken })
      const rewrite = Effect.sync(() => writeFileSync(file, "{}"))
      provider.script("token", [Reply.after(rewrite, Reply.normal)])
      const ended = yield* take(provider.resource, "--name", "fake")
      assert.strictEqual(ended.code, 1)
      assert.deepInclude(reportOf(ended), { imported: true, code: "source_changed" })
      assert.strictEqual(readFileSync(file, "utf8"), "{}")
      assert.strictEqual((yield* valetkey.run(["token", "fake"])).code, 0)
    })))

  it.live("finds what was started with --resource, and a client with a secret", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, provider, take } = yield* world
      const secret = Redacted.value(provider.grant().accessToken)
      provider.clients.set("secretive", { clientId: "secretive", secrets: [secret] })
      const { refreshToken } = provider.grant({ clientId: "secretive" })
      const file = store(directory, "https://other.example/mcp", {
        resource: provider.resource,
        refreshToken,
        client: { client_id: "secretive", client_secret: secret, token_endpoint_auth_method: "client_secret_post" }
      })
      const missed = yield* take("https://other.example/mcp")
      assert.strictEqual(reportOf(missed)["code"], "source_not_found")
      const ended = yield* take("https://other.example/mcp", "--resource", provider.resource, "--name", "fake")
      assert.strictEqual(ended.code, 0, ended.stdout)
      assert.isFalse(existsSync(file))
      assert.include(provider.requests("token")[0]!.body, "client_secret=")
    })))

  it.live("is refused for what cannot be taken over, each by a code of its own", () =>
    Effect.scoped(Effect.gen(function*() {
      const { directory, provider, take } = yield* world
      const { refreshToken } = provider.grant()
      const at = (path: string) => `${provider.resource}/${path}`
      store(directory, at("running"), { refreshToken, pid: process.pid })
      store(directory, at("access-only"), {})
      store(directory, at("static-client"), { refreshToken, client: null })
      writeFileSync(store(directory, at("broken"), { refreshToken }), "{")
      const cases = {
        running: "source_in_use",
        "access-only": "source_invalid",
        "static-client": "source_invalid",
        broken: "source_invalid",
        never: "source_not_found"
      }
      for (const [path, code] of Object.entries(cases)) {
        const ended = yield* take(at(path))
        assert.deepStrictEqual([ended.code, reportOf(ended)["code"]], [1, code], path)
      }
      for (const args of [["no-url"], ["ftp://x"], [at("a"), at("b"), "--name", "x"], [at("a"), "--format", "json"]]) {
        assert.strictEqual((yield* take(...args)).code, 2, args.join(" "))
      }
      assert.strictEqual(provider.log.length, 0)
    })))
})
