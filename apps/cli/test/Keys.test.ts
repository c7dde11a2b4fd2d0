import { assert, describe, it } from "@effect/vitest"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeVault from "@valetkey/testing/FakeVault"
import { Effect, Redacted } from "effect"
import { lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

interface Key {
  readonly id: number
  readonly state: string
  readonly held: boolean
  readonly envelopes: number
}

/** Stores secrets: a server whose client was registered by hand. */
const addServer = (valetkey: Valetkey.Installation, name: string) =>
  Effect.promise(async () => {
    const answer = await LocalSocket.request({
      socket: valetkey.home.socket,
      method: "PUT",
      path: `/v1/servers/${name}`,
      headers: {
        authorization: `Bearer ${LocalSocket.readToken(valetkey.home.token)}`,
        "content-type": "application/json"
      },
      body: JSON.stringify({
        resource: "https://x.example",
        client: { clientId: "x", authMethod: "client_secret_basic", clientSecret: Canary.makeText("client_secret") }
      })
    })
    assert.strictEqual(answer.status, 201)
  })

const keysOf = (document: Valetkey.Document) => document["keys"] as ReadonlyArray<Key>

const lines = (path: string) => readFileSync(path, "utf8").trim().split("\n")

describe("valetkey keys", () => {
  it.live("CRY-15 adds, promotes and rewraps keys of the local server, and retires none in use", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const started = yield* valetkey.run(["keys", "add"])
      assert.strictEqual(started.code, 0, started.stderr)
      const added = Number(started.stdout.trim())
      assert.include(started.stderr, `valetkey keys promote ${added}`)

      const file = lines(valetkey.home.keys)
      assert.deepStrictEqual(file.map((line) => Number(line.split(":")[0])).slice(1), [added])
      assert.strictEqual(lstatSync(valetkey.home.keys).mode & 0o777, 0o600)
      for (const line of file) {
        Canary.register("root_key", line.split(":")[1]!)
        assert.notInclude(started.stdout + started.stderr, line.split(":")[1]!)
      }
      const old = Number(file[0]!.split(":")[0])
      for (const name of ["a", "b", "c"]) yield* addServer(valetkey, name)

      const before = yield* valetkey.json(["keys", "status"])
      assert.strictEqual(before.document["ok"], true)
      assert.deepInclude(keysOf(before.document).find(({ id }) => id === old), {
        state: "primary",
        held: true,
        envelopes: 3
      })

      const early = yield* valetkey.json(["keys", "retire", String(old)])
      assert.strictEqual(early.code, 1)
      assert.strictEqual(early.error.code, "key_in_use")

      const promoted = yield* valetkey.run(["keys", "promote", String(added)])
      assert.strictEqual(promoted.code, 0, promoted.stderr)
      const rewrapped = yield* valetkey.run(["keys", "rewrap"])
      assert.strictEqual(rewrapped.code, 0, rewrapped.stderr)
      assert.include(rewrapped.stdout, "Sealed 3 rows anew")
      // Nobody watches a terminal here: plain lines, without control characters.
      assert.match(rewrapped.stderr, /^100% of 3 secrets$/m)
      assert.notInclude(rewrapped.stderr, "\u001b")
      assert.deepInclude((yield* valetkey.json(["keys", "rewrap"])).document, { ok: true, rewrapped: 0, left: 0 })

      const table = (yield* valetkey.run(["keys", "status"])).stdout
      assert.match(table, new RegExp(`^${old} +active +yes +0 `, "m"))
      assert.match(table, new RegExp(`^${added} +primary +yes +3 `, "m"))
    })))

  it.live("CRY-15 has Vault make a key that nobody sees, and says what to configure", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const vault = yield* FakeVault.make()
      yield* vault.write("keys/valetkey")
      const { ciphertext } = yield* vault.write("datakey/wrapped/valetkey")
      const tokenFile = join(valetkey.home.config, "vault-token")
      mkdirSync(valetkey.home.config, { recursive: true, mode: 0o700 })
      writeFileSync(tokenFile, Redacted.value(vault.root), { mode: 0o600 })
      const env = {
        VALETKEY_KEYS_WRAPPED: `1:${String(ciphertext)}`,
        VALETKEY_VAULT_ADDR: vault.address,
        VALETKEY_VAULT_KEY: "valetkey",
        VALETKEY_VAULT_TOKEN_FILE: tokenFile
      }
      const ended = yield* valetkey.run(["keys", "add"], env)
      assert.strictEqual(ended.code, 0, ended.stderr)
      const [, id, wrapped] = /^(\d+):(vault:v1:\S+)\n$/.exec(ended.stdout) ?? assert.fail(ended.stdout)
      assert.include(ended.stderr, "Append the entry to VALETKEY_KEYS_WRAPPED on every replica")
      assert.include(ended.stderr, `valetkey keys promote ${id}`)
      const { plaintext } = yield* vault.write("decrypt/valetkey", { ciphertext: wrapped })
      assert.strictEqual(Buffer.from(String(plaintext), "base64").length, 32)
      assert.deepInclude((yield* valetkey.json(["keys", "add"], env)).document, { ok: true })
      // Nothing is held or registered until it is configured, and no key file was made beside.
      assert.deepStrictEqual(keysOf((yield* valetkey.json(["keys", "status"], env)).document).map(({ id }) => id), [1])
      assert.isUndefined(lstatSync(valetkey.home.keys, { throwIfNoEntry: false }))
      const doctor = yield* valetkey.json(["doctor"], env)
      assert.strictEqual(doctor.code, 0, JSON.stringify(doctor.document))
      assert.include(JSON.stringify(doctor.document), "not used; VALETKEY_KEYS_WRAPPED is set")
      vault.seal()
      const sealed = yield* valetkey.json(["keys", "add"], env)
      assert.strictEqual(sealed.error.code, "encryption_key_missing")
    })))

  it.live("CRY-15 explains what to change where the keys are configured", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const key = Canary.makeText("root_key")
      const env = { VALETKEY_KEYS: `1:${Buffer.from(key.padEnd(32, "x").slice(-32)).toString("base64")}` }
      const ended = yield* valetkey.run(["keys", "add"], env)
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "VALETKEY_KEYS")
      assert.strictEqual(ended.stdout, "")
    })))

  it.live("DAEM-10 refuses what is no key id", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.json(["keys", "promote", "first"])
      assert.strictEqual(ended.code, 2)
      assert.strictEqual(ended.error.code, "usage")
    })))
})
