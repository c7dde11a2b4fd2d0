import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

/** Every command that talks to a server, with arguments that are in order. */
const commands: ReadonlyArray<ReadonlyArray<string>> = [
  ["connect", "x"],
  ["token", "x"],
  ["list"],
  ["status"],
  ["status", "x"],
  ["disconnect", "x"],
  ["servers", "list"],
  ["servers", "add", "x", "https://x.example"],
  ["servers", "show", "x"],
  ["servers", "remove", "x"],
  ["keys", "status"],
  ["keys", "add"],
  ["keys", "promote", "1"],
  ["keys", "rewrap"],
  ["keys", "retire", "1"]
]

const problem = (status: number, code: string, more: object = {}): StubServer.Answer => () => ({
  status,
  type: "application/problem+json",
  body: { type: `https://valetkey.dev/problems/${code}`, title: code, status, code, detail: "A safe sentence", ...more }
})

/** What a server may answer, with the exit code that every command must give. */
const outcomes: ReadonlyArray<readonly [string, StubServer.Answer, number]> = [
  ["unauthorized", problem(401, "unauthorized"), 1],
  ["forbidden", problem(403, "forbidden"), 1],
  ["reauthorization_required", problem(409, "reauthorization_required", { reason: "no_refresh_token" }), 4],
  ["refresh_in_progress", problem(503, "refresh_in_progress", { retryAfterSeconds: 1 }), 5],
  ["encryption_key_missing", problem(503, "encryption_key_missing"), 1],
  ["store_unavailable", problem(503, "store_unavailable", { retryAfterSeconds: 1 }), 1],
  ["unexpected_response", () => ({ type: "text/html", body: "<html></html>" }), 1],
  ["server_unreachable", () => undefined, 3]
]

describe("--json", () => {
  for (const [code, answer, exit] of outcomes) {
    it.live(`I25 S2.38 DAEM-10 every command prints one document and exits with ${exit} at ${code}`, () =>
      Effect.scoped(Effect.gen(function*() {
        const valetkey = yield* Valetkey.make
        yield* StubServer.make(valetkey, answer)
        yield* Effect.forEach(commands, (args) =>
          Effect.gen(function*() {
            const ended = yield* valetkey.json(args)
            assert.strictEqual(ended.code, exit, args.join(" "))
            assert.strictEqual(ended.document["ok"], false)
            assert.strictEqual(ended.error.code, code, args.join(" "))
            assert.notStrictEqual(ended.error.message, "")
            assert.strictEqual(ended.stderr, "")
          }), { concurrency: 3 })
      })))
  }

  it.live("I25 S2.38 every command prints one document and exits with 3 when nobody listens", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* Effect.forEach(commands, (args) =>
        Effect.gen(function*() {
          const ended = yield* valetkey.json([...args, "--no-start"])
          assert.strictEqual(ended.code, 3, args.join(" "))
          assert.strictEqual(ended.error.code, "server_unreachable")
        }), { concurrency: 3 })
    })))

  it.live("I25 prints one document and exits with 2 for every wrong command line", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const wrong = [
        [],
        ["bogus"],
        ["servers"],
        ["token"],
        ["token", "x", "--bogus"],
        ["token", "x", "--min-validity", "soon"],
        ["connect", "ftp://x.example"],
        ["connect", "x", "--transport", "pigeon"],
        ["exec", "x", "--", "true"],
        ["list", "--server", "nonsense"],
        ["list", "--server", "http://valetkey.example"],
        ["list", "--server", "https://valetkey.example"],
        ["servers", "add", "x", "https://x.example", "--token-endpoint", "https://x.example/token"]
      ]
      yield* Effect.forEach(wrong, (args) =>
        Effect.gen(function*() {
          const ended = yield* valetkey.run(["--json", ...args])
          assert.strictEqual(ended.code, 2, args.join(" "))
          assert.strictEqual(Valetkey.theError(ended).code, "usage", args.join(" "))
          const talk = yield* valetkey.run(args.includes("exec") ? ["exec", "x"] : args)
          assert.strictEqual(talk.code, 2, args.join(" "))
          assert.strictEqual(talk.stdout, "", args.join(" "))
          assert.notStrictEqual(talk.stderr, "")
        }), { concurrency: 3 })
      assert.strictEqual(valetkey.serverPid, undefined)
    })))

  it.live("I25 prints one document for help, version and doctor", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (const args of [["--help"], ["token", "--help"], ["--version"], ["doctor"]]) {
        const ended = yield* valetkey.json(args)
        assert.strictEqual(ended.code, 0, args.join(" "))
        assert.strictEqual(ended.document["ok"], true)
      }
    })))

  it.live("S2.35 I25 prints what there is as one document, and a table without --json", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { browser } = valetkey
      const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], { BROWSER: browser.path })
      yield* Valetkey.until(() => browser.opened().length > 0)
      yield* UserAgent.make().authorize(browser.opened()[0]?.[0] ?? "")
      assert.strictEqual((yield* running.ended).code, 0)

      const list = yield* valetkey.json(["list"])
      const [connection] = list.document["connections"] as ReadonlyArray<Valetkey.Document>
      assert.propertyVal(connection, "server", "fake")
      assert.propertyVal(connection, "status", "active")
      assert.match((yield* valetkey.run(["list"])).stdout, /^NAME +STATUS.*\nfake +active/)
      const token = yield* valetkey.json(["token", "fake"])
      assert.sameMembers(
        Object.keys(token.document),
        [
          "ok",
          "server",
          "accessToken",
          "tokenType",
          "expiresAt",
          "scopes",
          "generation"
        ].filter((name) => name in token.document)
      )
      const plain = yield* valetkey.run(["token", "fake"])
      assert.strictEqual(plain.stdout, `${token.document["accessToken"]}\n`)
      const header = yield* valetkey.run(["token", "fake", "--header"])
      assert.strictEqual(header.stdout, `Authorization: Bearer ${token.document["accessToken"]}\n`)
      assert.strictEqual((yield* valetkey.json(["servers", "show", "fake"])).code, 0)

      const disconnected = yield* valetkey.json(["disconnect", "fake"])
      assert.deepInclude(disconnected.document, { ok: true, server: "fake", disconnected: true, outcome: "confirmed" })
      const after = yield* valetkey.json(["token", "fake"])
      assert.strictEqual(after.code, 1)
      assert.strictEqual(after.error.code, "connection_not_found")
    })))
})

describe("keys", () => {
  const connected = Effect.gen(function*() {
    const valetkey = yield* Valetkey.make
    const provider = yield* FakeProvider.make()
    const { browser } = valetkey
    const running = yield* valetkey.start(["connect", provider.resource, "--name", "fake"], { BROWSER: browser.path })
    yield* Valetkey.until(() => browser.opened().length > 0)
    yield* UserAgent.make().authorize(browser.opened()[0]?.[0] ?? "")
    assert.strictEqual((yield* running.ended).code, 0)
    yield* valetkey.stop()
    return valetkey
  })

  it.live("S3.46 API-17 a lost key file fails closed with its code, is not replaced, and lists all the same", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* connected
      const keys = readFileSync(valetkey.home.keys)
      rmSync(valetkey.home.keys)
      const token = yield* valetkey.json(["token", "fake"])
      assert.strictEqual(token.code, 1)
      assert.strictEqual(token.error.code, "encryption_key_missing")
      assert.strictEqual((yield* valetkey.json(["list"])).code, 0)
      const doctor = yield* valetkey.json(["doctor"])
      assert.strictEqual(doctor.code, 1)
      assert.include(JSON.stringify(doctor.document), "restore it from a backup")
      writeFileSync(valetkey.home.keys, keys, { mode: 0o600 })
      yield* Valetkey.eventually(Effect.map(valetkey.json(["token", "fake"]), ({ code }) => code === 0))
    })))

  it.live("a wrong key opens nothing and says which it needs", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* connected
      const wrong = `2:${Buffer.from("0123456789abcdef0123456789abcdeF").toString("base64")}`
      const token = yield* valetkey.json(["token", "fake"], { VALETKEY_KEYS: wrong })
      assert.strictEqual(token.code, 1)
      assert.strictEqual(token.error.code, "encryption_key_unavailable")
    })))
})
