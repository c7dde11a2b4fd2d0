import { assert, describe, it } from "@effect/vitest"
import * as FakeVault from "@valetkey/testing/FakeVault"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted } from "effect"
import { isWrapped, type KeyService, type KeyServiceError } from "../src/KeyService.ts"
import * as VaultTransit from "../src/VaultTransit.ts"

/** Sends as it is told, with what arrived kept for the test. */
const sending =
  (address: string, bodies: Array<Uint8Array> = []): VaultTransit.VaultTransitOptions["send"] =>
  ({ body, headers, path }) =>
    Effect.promise(async () => {
      const response = await fetch(`${address}${path}`, {
        method: "POST",
        body,
        headers: Object.entries(headers).map(([name, value]): [string, string] => [
          name,
          Redacted.isRedacted(value) ? Redacted.value(value) : value
        ])
      })
      const answer = { status: response.status, body: new Uint8Array(await response.arrayBuffer()) }
      bodies.push(answer.body)
      return answer
    })

const problemOf = <A>(effect: Effect.Effect<A, KeyServiceError>) => Effect.map(Effect.flip(effect), ({ code }) => code)

const start = Effect.gen(function*() {
  const vault = yield* FakeVault.make()
  yield* vault.write("keys/valetkey")
  const bodies = new Array<Uint8Array>()
  const service: KeyService = VaultTransit.make({
    mount: "transit",
    key: "valetkey",
    token: Effect.succeed(vault.root),
    send: sending(vault.address, bodies)
  })
  return { vault, service, bodies }
})

describe("VaultTransit", () => {
  it.live("makes a key that nobody has seen, and unwraps it to the bytes that Vault holds", () =>
    Effect.gen(function*() {
      const { service, vault } = yield* start
      const wrapped = yield* service.create
      assert.isTrue(isWrapped(wrapped))
      assert.strictEqual(vault.log.at(-1)?.path, "/v1/transit/datakey/wrapped/valetkey")
      const unwrapped = yield* service.unwrap(wrapped)
      assert.strictEqual(unwrapped.length, 32)
      const expected = (yield* vault.write("decrypt/valetkey", { ciphertext: wrapped }))["plaintext"]
      assert.strictEqual(unwrapped.toString("base64"), expected)
    }))

  it.live("asks as the documentation has it: path, token, namespace and context", () =>
    Effect.gen(function*() {
      const vault = yield* FakeVault.make({ mount: "team/transit", namespace: "ns1" })
      yield* vault.write("keys/root.keys", { derived: true })
      const token = vault.issue(["decrypt/root.keys", "datakey/wrapped/root.keys"])
      const service = VaultTransit.make({
        mount: "team/transit",
        key: "root.keys",
        namespace: "ns1",
        context: "production",
        token: Effect.succeed(token),
        send: sending(vault.address)
      })
      const wrapped = yield* service.create
      assert.strictEqual((yield* service.unwrap(wrapped)).length, 32)
      const { body, headers, method, path } = vault.log.at(-1)!
      assert.deepStrictEqual([method, path], ["POST", "/v1/team/transit/decrypt/root.keys"])
      assert.deepStrictEqual(body, { ciphertext: wrapped, context: Buffer.from("production").toString("base64") })
      assert.deepInclude(headers, {
        "x-vault-token": Redacted.value(token),
        "x-vault-namespace": "ns1",
        "x-vault-request": "true"
      })
      const elsewhere = VaultTransit.make({
        mount: "team/transit",
        key: "root.keys",
        namespace: "ns1",
        context: "staging",
        token: Effect.succeed(token),
        send: sending(vault.address)
      })
      assert.strictEqual(yield* problemOf(elsewhere.unwrap(wrapped)), "key_service_rejected")
    }))

  it.live("reads the token again when it is refused, and asks once more only with another one", () =>
    Effect.gen(function*() {
      const vault = yield* FakeVault.make()
      yield* vault.write("keys/valetkey")
      const [old, renewed] = [vault.issue(["decrypt/", "datakey/"]), vault.issue(["decrypt/", "datakey/"])]
      vault.revoke(old)
      const tokens = [old, renewed]
      const service = VaultTransit.make({
        mount: "transit",
        key: "valetkey",
        token: Effect.sync(() => tokens.length > 1 ? tokens.shift()! : tokens[0]!),
        send: sending(vault.address)
      })
      const asked = () => vault.log.length
      const before = asked()
      const wrapped = yield* service.create
      assert.strictEqual(asked(), before + 2)
      vault.revoke(renewed)
      assert.strictEqual(yield* problemOf(service.unwrap(wrapped)), "key_service_denied")
      assert.strictEqual(asked(), before + 3)
    }))

  it.live("tells every refusal apart, and takes nothing for a key that Vault did not say as documented", () =>
    Effect.gen(function*() {
      const { service, vault } = yield* start
      const wrapped = yield* service.create
      const answers: ReadonlyArray<readonly [Reply.Reply, KeyServiceError["code"]]> = [
        [Reply.json(400, { errors: ["invalid ciphertext: unable to decrypt"] }), "key_service_rejected"],
        [Reply.json(403, { errors: ["permission denied"] }), "key_service_denied"],
        [Reply.json(404, { errors: [] }), "key_service_not_found"],
        [Reply.json(405, { errors: ["unsupported operation"] }), "key_service_not_found"],
        [Reply.json(412, { errors: ["required index state not present"] }), "key_service_failed"],
        [Reply.json(429, { errors: ["rate limit quota exceeded"] }), "key_service_limited"],
        [Reply.json(472, { errors: [] }), "key_service_failed"],
        [Reply.json(500, { errors: ["internal error"] }), "key_service_failed"],
        [Reply.json(501, { errors: ["Vault is not initialized"] }), "key_service_sealed"],
        [Reply.json(503, { errors: ["Vault is sealed"] }), "key_service_sealed"],
        [Reply.raw({ status: 204 }), "key_service_malformed"],
        [Reply.html(200), "key_service_malformed"],
        [Reply.truncated, "key_service_malformed"],
        [Reply.json(200, null), "key_service_malformed"],
        [Reply.json(200, { data: null }), "key_service_malformed"],
        [Reply.json(200, { errors: ["permission denied"] }), "key_service_malformed"],
        [Reply.json(200, { plaintext: "AAAA" }), "key_service_malformed"],
        [Reply.json(200, { data: { plaintext: 7 } }), "key_service_malformed"],
        [Reply.json(200, { data: { ciphertext: "AAAA" } }), "key_service_malformed"]
      ]
      for (const [reply, expected] of answers) {
        vault.script(reply)
        assert.strictEqual(yield* problemOf(service.unwrap(wrapped)), expected)
      }
      for (const ciphertext of ["", "gho_token", "vault:v1:", "vault:v1:a b", "vault:v1:QUFB,2:vault:v1:QUFB"]) {
        vault.script(Reply.json(200, { data: { ciphertext } }))
        assert.strictEqual(yield* problemOf(service.create), "key_service_malformed", ciphertext)
      }
    }))

  it.live("CRY-20 overwrites every answer that it was given, whatever it says", () =>
    Effect.gen(function*() {
      const { bodies, service, vault } = yield* start
      const wrapped = yield* service.create
      yield* service.unwrap(wrapped)
      vault.script(Reply.json(500, { errors: ["CANARY"] }), Reply.html(200))
      yield* Effect.flip(service.unwrap(wrapped))
      yield* Effect.flip(service.unwrap(wrapped))
      assert.strictEqual(bodies.length, 4)
      for (const body of bodies) assert.isTrue(body.length > 0 && body.every((byte) => byte === 0))
    }))

  it.live("quotes neither token nor answer in an error", () =>
    Effect.gen(function*() {
      const { service, vault } = yield* start
      const wrapped = yield* service.create
      vault.script(Reply.json(403, { errors: [`CANARY ${wrapped}`] }))
      const error = yield* Effect.flip(service.unwrap(wrapped))
      const said = `${error.message} ${JSON.stringify(error)} ${error.stack}`
      for (const secret of ["CANARY", wrapped, Redacted.value(vault.root)]) assert.notInclude(said, secret)
    }))
})
