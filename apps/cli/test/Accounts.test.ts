import { assert, describe, it } from "@effect/vitest"
import * as Promises from "@valetkey/client/Promises"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

/** A server at a real provider, and consents to it by whoever signs in there. */
const world = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const provider = yield* OidcProvider.make()
  const describeServer = (...policy: ReadonlyArray<string>) =>
    valetkey.json([
      "servers",
      "add",
      "notes",
      `${provider.issuer}/mcp`,
      "--issuer",
      provider.issuer,
      ...["openid", "profile", "mcp:read"].flatMap((scope) => ["--scope", scope]),
      ...policy
    ])
  assert.strictEqual((yield* describeServer()).code, 0)
  const connectAs = Effect.fnUntraced(function*(login: string) {
    const running = yield* valetkey.start(["connect", "notes", "--again", "--no-browser"])
    const [url] = yield* running.saw("stdout", /https?:\/\/\S+/)
    yield* UserAgent.make({ login }).authorize(url)
    return yield* running.ended
  })
  return { valetkey, provider, describeServer, connectAs }
})

const accountOf = (valetkey: Valetkey.Installation) =>
  Effect.map(
    valetkey.json(["status", "notes"]),
    ({ document }) => (document["connection"] as { readonly account?: unknown }).account
  )

describe("the account of a connection", () => {
  it.live("BIND-13 S2.16 is known from the real provider, shown, and not exchanged for another without a word", () =>
    Effect.scoped(Effect.gen(function*() {
      const { connectAs, describeServer, provider, valetkey } = yield* world
      const first = yield* connectAs("ada")
      assert.strictEqual(first.code, 0, first.stderr)
      assert.include(first.stdout, "Connected to notes as ada@id.example")
      const ada = { issuer: provider.issuer, id: "ada", label: "ada@id.example" }
      assert.deepStrictEqual(yield* accountOf(valetkey), ada)
      assert.match((yield* valetkey.run(["list"])).stdout, /ACCOUNT[\s\S]*notes +active +ada@id\.example/)
      const token = (yield* valetkey.run(["token", "notes"])).stdout

      const stranger = yield* connectAs("bob")
      assert.strictEqual(stranger.code, 1)
      assert.include(stranger.stderr, "Another account signed in at the provider")
      assert.isTrue((yield* valetkey.run(["token", "notes"])).stdout === token, "the token is another one")
      assert.deepStrictEqual(yield* accountOf(valetkey), ada)
      // Bob's tokens are given back to the provider, and a refresh of Ada's is none of Bob's business.
      yield* Valetkey.until(() => provider.revocations() > 0)
      const client = Promises.connect({ socket: valetkey.home.socket, tokenFile: valetkey.home.token })
      yield* Effect.addFinalizer(() => Effect.promise(() => client.close()))
      const refreshed = yield* Effect.promise(() => client.token("notes", { rejected: token.trim() }))
      assert.isTrue(refreshed.accessToken !== token.trim(), "the token was not refreshed")

      yield* describeServer("--account-change", "replace")
      const replaced = yield* connectAs("bob")
      assert.strictEqual(replaced.code, 0, replaced.stderr)
      assert.include(replaced.stdout, "as bob@id.example")
      assert.match((yield* valetkey.run(["status", "notes"])).stdout, /in place of another since +\d{4}-/)
      assert.match((yield* valetkey.run(["servers", "show", "notes"])).stdout, /another account +replaces/)
      const audit = (yield* valetkey.json(["audit", "list"])).document["events"] as ReadonlyArray<Valetkey.Document>
      assert.strictEqual(audit.filter(({ action }) => action === "connection.account_replaced").length, 1)

      yield* valetkey.stop()
      const database = readFileSync(join(valetkey.home.data, "valetkey.db"))
      assert.isTrue(database.includes("connection.account_replaced"), "the database is not whole")
      assert.isFalse(database.includes("id.example"), "the database names the account")
    })))
})
