import { assert, describe, it } from "@effect/vitest"
import type { KeyServiceError } from "@valetkey/keyring/KeyService"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as FakeVault from "@valetkey/testing/FakeVault"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import * as Reply from "@valetkey/testing/Reply"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import { Deferred, Effect, Fiber, Redacted, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as VaultKeys from "../src/VaultKeys.ts"

const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vkv-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A Vault with one wrapped key, and the token file of a server that may use it. */
const start = Effect.gen(function*() {
  const vault = yield* FakeVault.make()
  yield* vault.write("keys/valetkey")
  const token = vault.issue(["decrypt/valetkey", "datakey/wrapped/valetkey"])
  const tokenFile = join(yield* directory, "token")
  writeFileSync(tokenFile, `${Redacted.value(token)}\n`, { mode: 0o600 })
  const settings = {
    address: vault.address,
    mount: "transit",
    key: "valetkey",
    namespace: undefined,
    context: undefined,
    tokenFile
  }
  const { ciphertext } = yield* vault.write("datakey/wrapped/valetkey")
  return { vault, token, tokenFile, settings, wrapped: String(ciphertext) }
})

const codeOf = <A>(effect: Effect.Effect<A, KeyServiceError>) => Effect.map(Effect.flip(effect), ({ code }) => code)

describe("the key service of the configured Vault", () => {
  it.effect("makes and unwraps root keys, and reads the token anew for every request", () =>
    Effect.gen(function*() {
      const { settings, token, tokenFile, vault } = yield* start
      const service = yield* VaultKeys.make(settings)
      assert.strictEqual((yield* service.unwrap(yield* service.create)).length, 32)
      const renewed = vault.issue(["decrypt/", "datakey/"])
      vault.revoke(token)
      assert.strictEqual(yield* codeOf(service.create), "key_service_denied")
      writeFileSync(tokenFile, Redacted.value(renewed), { mode: 0o600 })
      assert.strictEqual((yield* service.unwrap(yield* service.create)).length, 32)
    }))

  it.effect("I14 tells sealed, denied, unknown key, lies, truncation, redirects and floods apart", () =>
    Effect.gen(function*() {
      const { settings, vault, wrapped } = yield* start
      const service = yield* VaultKeys.make(settings)
      const target = yield* FakeVault.make()
      const cases: ReadonlyArray<readonly [Reply.Reply, KeyServiceError["code"]]> = [
        [Reply.json(503, { errors: ["Vault is sealed"] }), "key_service_sealed"],
        [Reply.json(403, { errors: ["permission denied"] }), "key_service_denied"],
        [Reply.json(400, { errors: ["invalid ciphertext: unable to decrypt"] }), "key_service_rejected"],
        [Reply.reset, "key_service_interrupted"],
        [Reply.shortRead, "key_service_interrupted"],
        [Reply.truncated, "key_service_malformed"],
        [Reply.html(200), "key_service_malformed"],
        [Reply.endless, "key_service_malformed"],
        [Reply.redirect(`${target.address}/v1/transit/decrypt/valetkey`), "key_service_redirected"]
      ]
      for (const [reply, expected] of cases) {
        vault.script(reply)
        assert.strictEqual(yield* codeOf(service.unwrap(wrapped)), expected)
      }
      assert.strictEqual(target.log.length, 0)
      assert.strictEqual((yield* service.unwrap(wrapped)).length, 32)
      vault.seal()
      assert.strictEqual(yield* codeOf(service.unwrap(wrapped)), "key_service_sealed")
      vault.unseal()
      yield* vault.write("keys/another")
      const another = yield* VaultKeys.make({ ...settings, key: "another", tokenFile: settings.tokenFile })
      assert.strictEqual(yield* codeOf(another.unwrap(wrapped)), "key_service_denied")
      const root = join(yield* directory, "root")
      writeFileSync(root, Redacted.value(vault.root), { mode: 0o600 })
      const wrong = yield* VaultKeys.make({ ...settings, key: "another", tokenFile: root })
      assert.strictEqual(yield* codeOf(wrong.unwrap(wrapped)), "key_service_rejected")
      const nowhere = yield* VaultKeys.make({ ...settings, mount: "elsewhere", tokenFile: root })
      assert.strictEqual(yield* codeOf(nowhere.unwrap(wrapped)), "key_service_not_found")
    }))

  it.effect("I14 waits three seconds for an answer that does not come", () =>
    Effect.gen(function*() {
      const { settings, vault, wrapped } = yield* start
      const service = yield* VaultKeys.make(settings)
      const arrived = yield* Deferred.make<void>()
      vault.script(Reply.before(Effect.andThen(Deferred.succeed(arrived, undefined), Effect.never)))
      const asking = yield* Effect.forkChild(codeOf(service.unwrap(wrapped)))
      yield* Deferred.await(arrived)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(asking), "key_service_late")
    }))

  it.effect("I14 fails while Vault is away, and a source over it heals within a second of its return", () =>
    Effect.gen(function*() {
      const { settings, vault, wrapped } = yield* start
      const proxy = yield* TcpProxy.make({ port: vault.port })
      const service = yield* VaultKeys.make({ ...settings, address: proxy.through(vault.address).replace(/\/$/, "") })
      const source = KeySource.fromWrapped({ keys: Redacted.make(`1:${wrapped}`), service })
      proxy.setMode("reset")
      assert.match((yield* Effect.flip(source.ring)).code, /^key_service_(interrupted|unreachable)$/)
      const gone = yield* VaultKeys.make({ ...settings, address: "http://127.0.0.1:1" })
      assert.strictEqual(yield* codeOf(gone.unwrap(wrapped)), "key_service_unreachable")
      proxy.setMode("forward")
      yield* TestClock.adjust("1 second")
      const ring = yield* source.ring
      proxy.setMode("reset")
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* source.reload, ring)
    }))

  it.effect("refuses a token file that is missing, open to others, a link or no token", () =>
    Effect.gen(function*() {
      const { settings, tokenFile, vault, wrapped } = yield* start
      const asked = vault.log.length
      const service = yield* VaultKeys.make(settings)
      const link = join(yield* directory, "link")
      symlinkSync(tokenFile, link)
      const linked = yield* VaultKeys.make({ ...settings, tokenFile: link })
      assert.strictEqual(yield* codeOf(linked.unwrap(wrapped)), "key_service_token_unreadable")
      for (const mode of [0o640, 0o604, 0o644]) {
        chmodSync(tokenFile, mode)
        assert.strictEqual(yield* codeOf(service.unwrap(wrapped)), "key_service_token_unreadable")
      }
      chmodSync(tokenFile, 0o600)
      for (const content of ["", "\n", "two words", "line\r\nx-vault-namespace: other", "\u00e4"]) {
        writeFileSync(tokenFile, content)
        assert.strictEqual(yield* codeOf(service.unwrap(wrapped)), "key_service_token_unreadable", content)
      }
      rmSync(tokenFile)
      assert.strictEqual(yield* codeOf(service.unwrap(wrapped)), "key_service_token_unreadable")
      assert.strictEqual(vault.log.length, asked)
    }))

  it.effect("logs the cause of a failure once a second, and no token, key or ciphertext", () =>
    Effect.gen(function*() {
      const { settings, token, vault, wrapped } = yield* start
      const service = yield* VaultKeys.make(settings)
      const source = KeySource.fromWrapped({ keys: Redacted.make(`1:${wrapped}`), service })
      vault.script(Reply.json(400, { errors: [`CANARY-IN-ERROR ${wrapped}`] }))
      for (let call = 0; call < 5; call++) yield* Effect.flip(source.ring)
      vault.script(Reply.json(503, { errors: ["CANARY-IN-ERROR"] }))
      yield* Effect.flip(source.propose!)
      const lines = yield* (yield* LogRecorder).lines
      assert.strictEqual(lines.filter((line) => line.includes("key_service_sealed")).length, 1)
      assert.strictEqual(lines.filter((line) => line.includes("key_service_rejected")).length, 1)
      for (const secret of [Redacted.value(token), wrapped, "CANARY-IN-ERROR"]) {
        assert.notInclude(lines.join("\n"), secret)
      }
    }).pipe(Effect.provide(LogRecorder.layer)))
})
