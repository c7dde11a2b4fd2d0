import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as Emitted from "@valetkey/testing/Emitted"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { generateIdentity, identityToRecipient } from "age-encryption"
import { Effect, Fiber, Redacted } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { chmodSync, existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

/** A file of mode 0600 beside the installation's home. */
const secretFile = (valetkey: Valetkey.Installation, name: string, content: string): string => {
  const path = join(dirname(valetkey.home.data), name)
  writeFileSync(path, content, { mode: 0o600 })
  return path
}

/** An age identity in a file, and its recipient. */
const holder = (valetkey: Valetkey.Installation) =>
  Effect.promise(async () => {
    const identity = await generateIdentity()
    // What every identity begins with stands in messages too.
    Canary.register("age_identity", identity.slice(-40))
    const file = secretFile(valetkey, "key.txt", `# created by a test\n${identity}\n`)
    return { file, recipient: await identityToRecipient(identity) }
  })

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

const archiveIn = (valetkey: Valetkey.Installation): string => join(dirname(valetkey.home.data), "backup.age")

const actionsOf = (valetkey: Valetkey.Installation) =>
  Effect.map(
    valetkey.json(["audit", "list"]),
    ({ document }) => (document["events"] as ReadonlyArray<{ readonly action: string }>).map(({ action }) => action)
  )

const namesOf = (valetkey: Valetkey.Installation) =>
  Effect.map(
    valetkey.json(["list"]),
    ({ document }) =>
      (document["connections"] as ReadonlyArray<{ readonly server: string }>).map(({ server }) => server)
  )

/** A plaintext document of connections at the provider, each with credentials of its own. */
const documentOf = (
  provider: FakeProvider.FakeProvider,
  servers: ReadonlyArray<string>,
  over: Readonly<Record<string, unknown>> = {}
) => {
  const grants = servers.map((server) => ({ server, granted: provider.grant() }))
  const text = JSON.stringify({
    format: "valetkey.archive",
    version: 1,
    connections: grants.map(({ granted, server }) => ({
      server,
      tokenEndpoint: `${provider.issuer}/token`,
      clientId: "fake-client",
      refreshToken: Redacted.value(granted.refreshToken),
      ...over
    }))
  })
  return { text, tokens: grants.map(({ granted }) => granted.refreshToken) }
}

interface Reported {
  readonly server: string
  readonly imported: boolean
  readonly code?: string
  readonly uncertain?: boolean
}

/** What an import said of each connection, also when it failed. */
const reportsOf = ({ document, error }: { readonly document: Valetkey.Document; readonly error: Valetkey.Failure }) =>
  ((document["connections"] ?? (error as unknown as Valetkey.Document)["connections"]) as ReadonlyArray<Reported>)
    .map(({ code, imported, server }) => [server, imported, code])

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

  it.live("imports the good connections of a document, and keeps nothing of those that it could not prove", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { text, tokens } = documentOf(provider, ["a", "b", "c", "d", "e"], { redemptionPolicy: "strict" })
      provider.script("token", [
        Reply.normal,
        Reply.error("invalid_grant"),
        Reply.json(503, {}),
        Reply.processThenReset,
        Reply.error("invalid_client", 401)
      ])
      const mixed = yield* valetkey.json(["import", "-", "--format", "json"], {}, text)
      assert.deepStrictEqual([mixed.code, mixed.error.code], [1, "import_incomplete"])
      assert.deepStrictEqual(reportsOf(mixed), [
        ["a", true, undefined],
        ["b", false, "deposit_refused"],
        ["c", false, "authorization_server_unavailable"],
        ["d", false, "deposit_refused"],
        ["e", false, "client_misconfigured"]
      ])
      const messages =
        (mixed.error as unknown as { readonly connections: ReadonlyArray<{ readonly message?: string }> })
          .connections.map(({ message = "" }) => message)
      assert.include(messages[1], "refuses these credentials")
      assert.include(messages[3], "may be used up")
      assert.deepStrictEqual(yield* namesOf(valetkey), ["a"])
      assert.strictEqual(provider.requests("revocation").length, 0)
      assert.deepStrictEqual(tokens.map((token) => provider.tokenCount(token)), [1, 1, 1, 1, 1])

      // What was not redeemed is good where it came from, and can be imported once the provider is back.
      const later = yield* valetkey.run(["import", "-", "--format", "json"], {}, text)
      assert.strictEqual(later.code, 1)
      assert.match(later.stdout, /^a +failed \(connection_exists\)/m)
      assert.match(later.stdout, /^d +failed \(deposit_refused\)/m)
      assert.match(later.stdout, /^c +imported/m)
      assert.match(later.stdout, /^e +imported/m)
      assert.deepStrictEqual(yield* namesOf(valetkey), ["a", "b", "c", "e"])
    })))

  it.live("describes no client with a signing key as its secret, nor with a secret as its key", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
      Canary.register("signing_key", jwk.d!)
      const proofs = {
        private_key_jwt: { authMethod: "private_key_jwt", clientSecret: JSON.stringify({ ...jwk, alg: "ES256" }) },
        client_secret_post: { authMethod: "client_secret_post", clientSecret: Canary.makeText("client_secret") },
        client_secret_basic: { clientSecret: Canary.makeText("client_secret") }
      }
      const table = [
        ["keyed", "client_secret_basic", "private_key_jwt", undefined],
        ["secret", "private_key_jwt", "client_secret_basic", undefined],
        ["sent", "client_secret_basic", "client_secret_post", "client_secret_basic"],
        ["signs", "private_key_jwt", "private_key_jwt", "private_key_jwt"]
      ] as const
      for (const [server, described, consented, kept] of table) {
        const { text } = documentOf(provider, [server], {
          issuer: provider.issuer,
          ...proofs[consented],
          definition: { resource: provider.resource, client: { clientId: "fake-client", authMethod: described } }
        })
        const imported = yield* valetkey.json(["import", "-", "--format", "json"], {}, text)
        assert.deepStrictEqual(reportsOf(imported), [[server, true, undefined]])
        const { document } = yield* valetkey.json(["servers", "show", server])
        const client = (document["server"] as { readonly client?: { readonly authMethod: string } }).client
        assert.strictEqual(client?.authMethod, kept, server)
      }
    })))

  it.live("calls an import uncertain, and keeps it, when an answer of the provider is lost and no other proves it", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { text, tokens } = documentOf(provider, ["a", "b"])
      provider.script("token", [
        Reply.processThenReset,
        Reply.json(503, {}),
        Reply.processThenReset,
        Reply.error("invalid_client", 401)
      ])
      const imported = yield* valetkey.json(["import", "-", "--format", "json"], {}, text)
      assert.deepStrictEqual([imported.code, imported.error.code], [1, "import_incomplete"])
      const { connections } = imported.error as unknown as { readonly connections: ReadonlyArray<Reported> }
      assert.deepStrictEqual(
        connections.map(({ code, imported, server, uncertain }) => [server, imported, code, uncertain]),
        [["a", false, "deposit_refused", true], ["b", false, "deposit_refused", true]]
      )
      // Whoever holds the good token now, it is neither revoked nor lost with its row.
      assert.deepStrictEqual(yield* namesOf(valetkey), ["a", "b"])
      assert.strictEqual(provider.requests("revocation").length, 0)
      assert.deepStrictEqual(tokens.map((token) => provider.tokenCount(token)), [2, 2])
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

describe("bad input", () => {
  it.live("I25 is told by a code of its own, before anything is sent or written", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { file, recipient } = yield* holder(valetkey)
      const directory = dirname(valetkey.home.data)
      const loose = secretFile(valetkey, "loose", "a long enough passphrase")
      chmodSync(loose, 0o644)
      const short = secretFile(valetkey, "short", "short")
      const noKey = secretFile(valetkey, "nokey", "AGE-SECRET-KEY-1NONE")
      const prose = secretFile(valetkey, "prose", "this is no key")
      const taken = secretFile(valetkey, "taken.age", "something")
      const json = secretFile(
        valetkey,
        "plain.json",
        "{\"format\":\"valetkey.archive\",\"version\":1,\"connections\":[]}"
      )
      const large = secretFile(valetkey, "large", "x".repeat(8 * 1024 * 1024 + 1))
      const out = join(directory, "new.age")
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, string]> = [
        [["export", "--out", out], 2, "usage"],
        [["export", "--out", out, "--recipient", recipient, "--passphrase-stdin"], 2, "usage"],
        [["export", "--recipient", recipient], 2, "usage"],
        [["export", "--out", taken, "--recipient", recipient], 1, "output_exists"],
        [["export", "--out", "/dev/null", "--force", "--recipient", recipient], 1, "output_not_written"],
        [["export", "--out", join(directory, "no", "x"), "--recipient", recipient], 1, "output_not_written"],
        [["export", "--out", out, "--passphrase-file", loose], 1, "secret_not_private"],
        [["export", "--out", out, "--passphrase-file", short], 1, "passphrase_short"],
        [["export", "--out", out, "--passphrase-file", join(directory, "never")], 1, "secret_unreadable"],
        [["import", json], 2, "usage"],
        [["import", json, json, "--identity-file", file], 2, "usage"],
        [["import", json, "--format", "json", "--identity-file", file], 2, "usage"],
        [["import", "-", "--passphrase-stdin"], 2, "usage"],
        [["import", json, "--identity-file", file], 1, "archive_unknown"],
        [["import", json, "--format", "json"], 1, "archive_empty"],
        [["import", large, "--identity-file", file], 1, "archive_too_large"],
        [["import", join(directory, "never"), "--identity-file", file], 1, "archive_unreadable"],
        [["import", json, "--identity-file", loose], 1, "secret_not_private"],
        [["import", json, "--identity-file", prose], 1, "identity_invalid"],
        [["import", json, "--identity-file", noKey], 1, "identity_invalid"]
      ]
      for (const [args, code, error] of cases) {
        const ended = yield* valetkey.json(args)
        assert.deepStrictEqual([ended.code, ended.error.code], [code, error], `${args.join(" ")}: ${ended.stderr}`)
      }
      assert.isUndefined(valetkey.serverPid)
      assert.isFalse(existsSync(out))
      assert.strictEqual(readFileSync(taken, "utf8"), "something")

      for (
        const [args, error] of [
          [
            ["export", "--out", out, "--recipient", `${recipient.slice(0, -1)}${recipient.endsWith("q") ? "p" : "q"}`],
            "nothing_to_export"
          ],
          [["export", "--out", out, "--recipient", recipient], "nothing_to_export"],
          [["export", "never", "--out", out, "--recipient", recipient], "connection_not_found"],
          [["export", "--out", out, "--recipient", "ssh-ed25519"], "invalid_request"]
        ] as const
      ) {
        const ended = yield* valetkey.json(args)
        assert.deepStrictEqual([ended.code, ended.error.code], [1, error], args.join(" "))
      }
      assert.isFalse(existsSync(out))
    })))

  it.live("writes nothing that is not sealed, whatever a server answers", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const out = archiveIn(valetkey)
      const { recipient } = yield* holder(valetkey)
      const archive = Buffer.from("{\"format\":\"valetkey.archive\"}").toString("base64")
      yield* StubServer.make(valetkey, () => ({ body: { archive, connections: [], left: [] } }))
      const ended = yield* valetkey.json(["export", "--out", out, "--recipient", recipient])
      assert.deepStrictEqual([ended.code, ended.error.code], [1, "output_not_written"])
      assert.isFalse(existsSync(out))
    })))

  it.live("loads age for an import and for no other command", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const directory = dirname(valetkey.home.data)
      const log = join(directory, "loaded")
      const hook = secretFile(
        valetkey,
        "hook.cjs",
        `process.on("exit", () => require("node:fs").appendFileSync(${
          JSON.stringify(log)
        }, Object.keys(require.cache).join("\\n") + "\\n"))`
      )
      const { file } = yield* holder(valetkey)
      const json = secretFile(valetkey, "plain.json", "{}")
      const loads = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
        writeFileSync(log, "")
        yield* valetkey.run([...args, "--no-start"], { NODE_OPTIONS: `--require ${hook}` })
        const files = readFileSync(log, "utf8").split("\n").filter((path) => path.endsWith(".cjs") && path !== hook)
        assert.isNotEmpty(files)
        return files.some((path) => readFileSync(path, "utf8").includes("age-encryption.org/v1/X25519"))
      })
      assert.isTrue(yield* loads("import", json, "--identity-file", file))
      for (
        const args of [["token", "x"], ["list"], ["export", "--out", join(directory, "x"), "--passphrase-file", json]]
      ) {
        assert.isFalse(yield* loads(...args), args.join(" "))
      }
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
