import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as Emitted from "@valetkey/testing/Emitted"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Fiber } from "effect"
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { archiveIn, holder, namesOf, reportsOf, secretFile } from "./support/Archives.ts"
import * as Valetkey from "./support/Valetkey.ts"

/** Connects `name` at the provider, whose person answers at once. */
const connect = Effect.fnUntraced(function*(
  valetkey: Valetkey.Installation,
  provider: FakeProvider.FakeProvider,
  name: string
) {
  const running = yield* valetkey.start(["connect", provider.resource, "--name", name, "--no-browser"])
  const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
  yield* UserAgent.make().authorize(url)
  assert.strictEqual((yield* running.ended).code, 0)
})

const actionsOf = (valetkey: Valetkey.Installation) =>
  Effect.map(
    valetkey.json(["audit", "list"]),
    ({ document }) => (document["events"] as ReadonlyArray<{ readonly action: string }>).map(({ action }) => action)
  )

describe("moving", () => {
  it.live("LIFE-05 I11 I12 takes a connection to another installation: sealed, one redemption, nothing in the clear", () =>
    Effect.scoped(Effect.gen(function*() {
      const [here, there] = [yield* Valetkey.make, yield* Valetkey.make]
      const provider = yield* FakeProvider.make()
      const { file, recipient } = yield* holder(there)
      yield* connect(here, provider, "fake")
      const { refreshTokens } = provider.families[0]!
      const held = refreshTokens.at(-1)!
      const archive = archiveIn(here)

      const exported = yield* here.json(["export", "--out", archive, "--recipient", recipient, "--move"])
      assert.strictEqual(exported.code, 0, exported.stderr)
      assert.deepInclude(exported.document, { ok: true, moved: true, left: [] })
      assert.strictEqual(lstatSync(archive).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(dirname(archive)).filter((name) => name.includes("backup")), ["backup.age"])
      assert.deepStrictEqual(yield* namesOf(here), [])
      assert.strictEqual((yield* here.json(["token", "fake"])).error.code, "connection_not_found")
      assert.strictEqual(provider.requests("revocation").length, 0)
      assert.strictEqual(provider.tokenCount(held), 0)
      const told = yield* actionsOf(here)
      assert.deepStrictEqual(told.slice(-2), ["connection.exported", "connection.forgotten"])

      // What stands in the archive is there, and nobody without the identity can see it.
      Emitted.recordFile(archive)
      assert.deepStrictEqual(CanaryScan.make().path(archive), [])

      const imported = yield* there.json(["import", archive, "--identity-file", file])
      assert.strictEqual(imported.code, 0, imported.stderr)
      assert.deepStrictEqual(reportsOf(imported), [["fake", true, undefined]])
      assert.strictEqual(provider.tokenCount(held), 1)
      assert.notStrictEqual(
        readFileSync(here.home.instance, "utf8").trim(),
        readFileSync(there.home.instance, "utf8").trim()
      )
      assert.notStrictEqual(readFileSync(here.home.keys, "utf8"), readFileSync(there.home.keys, "utf8"))

      const token = yield* there.run(["token", "fake"])
      assert.isTrue(provider.isActive(token.stdout.trim()))
      assert.strictEqual(provider.maxTokenCount(), 1)
      const shown = yield* there.json(["servers", "show", "fake"])
      assert.deepInclude(shown.document["server"], { resource: provider.resource })
      // It goes on living there.
      provider.expireAccessTokens()
      yield* there.run(["token", "fake", "--json"])
      assert.strictEqual(provider.maxTokenCount(), 1)

      // The archive is of no use any more, and a second import from it leaves nothing behind.
      const again = yield* here.json(["import", archive, "--identity-file", file, "--name", "again"])
      assert.deepStrictEqual([again.code, again.error.code], [1, "import_incomplete"])
      assert.deepStrictEqual(reportsOf(again), [["again", false, "deposit_refused"]])
      assert.deepStrictEqual(yield* namesOf(here), [])
    })))

  it.live("LIFE-05 takes along what a real authorization server gave, which sees one redemption and no reuse", () =>
    Effect.scoped(Effect.gen(function*() {
      const [here, there] = [yield* Valetkey.make, yield* Valetkey.make]
      const provider = yield* OidcProvider.make()
      const resource = yield* McpResource.make(provider)
      const { file, recipient } = yield* holder(there)
      const archive = archiveIn(here)
      const running = yield* here.start(["connect", resource.url, "--name", "mcp", "--no-browser"])
      const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
      yield* UserAgent.make().authorize(url)
      assert.strictEqual((yield* running.ended).code, 0)
      const exported = yield* here.run(["export", "--out", archive, "--recipient", recipient, "--move"])
      assert.strictEqual(exported.code, 0, exported.stderr)
      assert.deepStrictEqual(CanaryScan.make().path(archive), [])
      const imported = yield* there.run(["import", archive, "--identity-file", file])
      assert.strictEqual(imported.code, 0, imported.stderr)
      assert.deepStrictEqual([...provider.refreshes.values()], [1])
      const token = yield* there.run(["token", "mcp"])
      const answer = yield* Effect.promise(() =>
        fetch(resource.url, {
          method: "POST",
          headers: { authorization: `Bearer ${token.stdout.trim()}`, accept: "application/json, text/event-stream" }
        })
      )
      assert.notStrictEqual(answer.status, 401)
      assert.deepStrictEqual([...provider.refreshes.values()], [1])
      assert.deepStrictEqual([provider.reuseDetected(), provider.revocations(), resource.authorized()], [0, 0, 1])
    })))

  it.live("LIFE-05 opens with the passphrase of a file or of stdin, and says what a copy means", () =>
    Effect.scoped(Effect.gen(function*() {
      const [here, there] = [yield* Valetkey.make, yield* Valetkey.make]
      const provider = yield* FakeProvider.make()
      const passphrase = Canary.makeText("passphrase")
      yield* connect(here, provider, "fake")
      const archive = archiveIn(here)
      const exported = yield* here.run(
        ["export", "fake", "--out", archive, "--passphrase-stdin"],
        {},
        `${passphrase}\n`
      )
      assert.strictEqual(exported.code, 0, exported.stderr)
      assert.include(exported.stderr, "Both this installation and the archive hold these refresh tokens")
      assert.deepStrictEqual(CanaryScan.make().path(archive), [])
      assert.deepStrictEqual(yield* namesOf(here), ["fake"])

      const wrong = yield* there.json(["import", archive, "--passphrase-stdin"], {}, "not this one, sorry")
      assert.deepStrictEqual([wrong.code, wrong.error.code], [1, "passphrase_wrong"])
      const file = secretFile(there, "phrase", `${passphrase}\r\n`)
      const imported = yield* there.run(
        ["import", "-", "--passphrase-file", file, "--name", "other"],
        {},
        readFileSync(archive)
      )
      assert.strictEqual(imported.code, 0, imported.stderr)
      assert.match(imported.stdout, /^other +imported/m)
      assert.include(imported.stderr, "used up where they came from")
      assert.strictEqual((yield* there.run(["token", "other"])).code, 0)
    })))

  it.live("I3 keeps a connection that is refreshed while it is moved, because the archive has its old token", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { file, recipient } = yield* holder(valetkey)
      yield* connect(valetkey, provider, "fake")
      const gate = join(dirname(valetkey.home.data), "out")
      // A refresh is held at the provider while the export reads and wants to forget.
      provider.expireAccessTokens()
      let release = () => {}
      const released = new Promise<void>((resolve) => release = resolve)
      provider.script("token", [Reply.before(Effect.promise(() => released))])
      const accessToken = (yield* valetkey.run(["token", "fake"])).stdout.trim()
      const refreshing = yield* Effect.forkChild(Effect.promise(() => reject(valetkey, accessToken)))
      yield* provider.arrived("token", 2)
      const moved = yield* valetkey.json(["export", "--out", gate, "--recipient", recipient, "--move"])
      assert.deepStrictEqual([moved.code, moved.error.code], [1, "move_incomplete"])
      assert.include(JSON.stringify(moved.error), "refresh_in_progress")
      release()
      yield* Fiber.await(refreshing)
      assert.deepStrictEqual(yield* namesOf(valetkey), ["fake"])
      assert.isTrue(existsSync(file))
    })))
})

/** Tells the server that the resource refused the token, so that it refreshes; the answer is of no interest. */
const reject = async (valetkey: Valetkey.Installation, rejectedToken: string): Promise<void> => {
  const { readToken, request } = await import("@valetkey/client/LocalSocket")
  await request({
    socket: valetkey.home.socket,
    method: "POST",
    path: "/v1/connections/fake/token",
    headers: { authorization: `Bearer ${readToken(valetkey.home.token)}`, "content-type": "application/json" },
    body: JSON.stringify({ rejectedToken })
  })
}
