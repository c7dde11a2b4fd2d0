import { assert, describe, it } from "@effect/vitest"
import * as FakeVault from "@valetkey/testing/FakeVault"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"

interface Answer {
  readonly status: number
  readonly body: { readonly data?: Readonly<Record<string, string>>; readonly errors?: ReadonlyArray<string> }
}

const call = (
  vault: FakeVault.FakeVault,
  path: string,
  body: object = {},
  options: { readonly token?: Redacted.Redacted; readonly method?: string; readonly namespace?: string } = {}
): Effect.Effect<Answer> =>
  Effect.promise(async () => {
    const response = await fetch(`${vault.address}/v1/${path}`, {
      method: options.method ?? "POST",
      headers: {
        "x-vault-token": Redacted.value(options.token ?? vault.root),
        ...(options.namespace === undefined ? {} : { "x-vault-namespace": options.namespace })
      },
      ...(options.method === "GET" ? {} : { body: JSON.stringify(body) })
    })
    return { status: response.status, body: await response.json() as Answer["body"] }
  })

const plaintext = Buffer.from("the quick brown fox").toString("base64")
const refused = (status: number, error: string): Answer => ({ status, body: { errors: [error] } })

describe("FakeVault", () => {
  it.live("encrypts and decrypts under versions of a key, and refuses versions below the least one", () =>
    Effect.gen(function*() {
      const vault = yield* FakeVault.make()
      yield* vault.write("keys/app")
      const first = String((yield* vault.write("encrypt/app", { plaintext }))["ciphertext"])
      assert.match(first, /^vault:v1:[A-Za-z0-9+/]+={0,2}$/)
      assert.notStrictEqual(first, (yield* vault.write("encrypt/app", { plaintext }))["ciphertext"])
      yield* vault.write("keys/app/rotate")
      const second = String((yield* vault.write("encrypt/app", { plaintext }))["ciphertext"])
      assert.match(second, /^vault:v2:/)
      for (const ciphertext of [first, second]) {
        assert.strictEqual((yield* vault.write("decrypt/app", { ciphertext }))["plaintext"], plaintext)
      }
      yield* vault.write("keys/app/config", { min_decryption_version: 2 })
      assert.deepStrictEqual(
        yield* call(vault, "transit/decrypt/app", { ciphertext: first }),
        refused(400, "ciphertext or signature version is disallowed by policy (too old)")
      )
    }))

  it.live("binds a ciphertext to its key, its context and its associated data", () =>
    Effect.gen(function*() {
      const vault = yield* FakeVault.make()
      yield* vault.write("keys/app")
      yield* vault.write("keys/other")
      yield* vault.write("keys/derived", { derived: true })
      const failed = refused(400, "invalid ciphertext: unable to decrypt")
      const sealed = yield* vault.write("encrypt/app", { plaintext, associated_data: "YQ==" })
      const right = { ciphertext: sealed["ciphertext"], associated_data: "YQ==" }
      assert.strictEqual((yield* vault.write("decrypt/app", right))["plaintext"], plaintext)
      assert.deepStrictEqual(yield* call(vault, "transit/decrypt/app", { ...right, associated_data: "Yg==" }), failed)
      assert.deepStrictEqual(yield* call(vault, "transit/decrypt/other", right), failed)
      const derived = yield* vault.write("encrypt/derived", { plaintext, context: "YQ==" })
      const bound = { ciphertext: derived["ciphertext"], context: "YQ==" }
      assert.strictEqual((yield* vault.write("decrypt/derived", bound))["plaintext"], plaintext)
      assert.deepStrictEqual(yield* call(vault, "transit/decrypt/derived", { ...bound, context: "Yg==" }), failed)
      assert.strictEqual((yield* call(vault, "transit/decrypt/derived", { ...bound, context: "" })).status, 400)
      assert.deepStrictEqual(
        yield* call(vault, "transit/decrypt/app", { ciphertext: "gho_token" }),
        refused(400, "invalid ciphertext: no prefix")
      )
      assert.deepStrictEqual(
        yield* call(vault, "transit/decrypt/none", bound),
        refused(400, "encryption key not found")
      )
    }))

  it.live("makes data keys, which only the plaintext path shows", () =>
    Effect.gen(function*() {
      const vault = yield* FakeVault.make()
      yield* vault.write("keys/app")
      const shown = yield* vault.write("datakey/plaintext/app", { bits: 512 })
      assert.strictEqual(Buffer.from(String(shown["plaintext"]), "base64").length, 64)
      assert.strictEqual(
        (yield* vault.write("decrypt/app", { ciphertext: shown["ciphertext"] }))["plaintext"],
        shown["plaintext"]
      )
      const hidden = yield* vault.write("datakey/wrapped/app")
      assert.notProperty(hidden, "plaintext")
      const opened = yield* vault.write("decrypt/app", { ciphertext: hidden["ciphertext"] })
      assert.strictEqual(Buffer.from(String(opened["plaintext"]), "base64").length, 32)
      assert.deepStrictEqual(
        yield* call(vault, "transit/datakey/wrapped/app", { bits: 100 }),
        refused(400, "invalid bit length")
      )
    }))

  it.live("answers by policy, namespace, path and state, as documented", () =>
    Effect.gen(function*() {
      const vault = yield* FakeVault.make({ mount: "team/transit", namespace: "ns1/ns2" })
      yield* vault.write("keys/app")
      const namespace = "ns1/ns2/"
      const reader = vault.issue(["decrypt/"])
      const denied = refused(403, "permission denied")
      const path = "team/transit/encrypt/app"
      assert.strictEqual((yield* call(vault, path, { plaintext }, { namespace })).status, 200)
      assert.strictEqual((yield* call(vault, path, { plaintext }, { namespace, method: "PUT" })).status, 200)
      assert.strictEqual((yield* call(vault, path, {}, { namespace, method: "GET" })).status, 405)
      assert.deepStrictEqual(yield* call(vault, path, { plaintext }), denied)
      assert.deepStrictEqual(yield* call(vault, path, { plaintext }, { namespace, token: reader }), denied)
      assert.deepStrictEqual(yield* call(vault, path, {}, { namespace, token: Redacted.make("hvs.x") }), denied)
      const decrypt = "team/transit/decrypt/app"
      assert.strictEqual((yield* call(vault, decrypt, {}, { namespace, token: reader })).status, 400)
      vault.revoke(reader)
      assert.deepStrictEqual(yield* call(vault, decrypt, {}, { namespace, token: reader }), denied)
      for (const elsewhere of ["transit/encrypt/app", "team/transit/sign/app"]) {
        const answer = yield* call(vault, elsewhere, {}, { namespace })
        assert.deepStrictEqual(answer, refused(404, `no handler for route "${elsewhere}". route entry not found.`))
      }
      vault.seal()
      assert.deepStrictEqual(yield* call(vault, path, { plaintext }, { namespace }), refused(503, "Vault is sealed"))
      vault.unseal()
      vault.script(Reply.json(429, { errors: ["request path \"x\": rate limit quota exceeded"] }))
      assert.strictEqual((yield* call(vault, path, { plaintext }, { namespace })).status, 429)
      assert.strictEqual((yield* call(vault, path, { plaintext }, { namespace })).status, 200)
      assert.strictEqual(vault.log.at(-1)?.path, `/v1/${path}`)
    }))
})
