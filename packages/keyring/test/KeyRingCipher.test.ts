import { assert, describe, it } from "@effect/vitest"
import { Cipher } from "@valetkey/domain/Cipher"
import type { SealContext, Sealed } from "@valetkey/domain/Sealed"
import { TenantId } from "@valetkey/domain/Tenant"
import { Context, Effect, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { randomBytes } from "node:crypto"
import * as Envelope from "../src/Envelope.ts"
import * as KeyRingCipher from "../src/KeyRingCipher.ts"
import * as KeySource from "../src/KeySource.ts"

const entry = (id: number) => `${id}:${randomBytes(32).toString("base64")}`
const [one, two] = [entry(1), entry(2)]

const cipherOver = (source: KeySource.KeySource, instanceId = "inst") =>
  Effect.map(Layer.build(KeyRingCipher.layer({ instanceId, source })), (services) => Context.get(services, Cipher))

const cipherOf = (keys: string | undefined, instanceId?: string) =>
  cipherOver(KeySource.fromText(keys === undefined ? undefined : Redacted.make(keys)), instanceId)

const context: SealContext = {
  table: "connections",
  tenant: TenantId.make("acme"),
  row: "user-1/github",
  field: "access_token",
  generation: 7
}

const token = Redacted.make("gho_token")

describe("KeyRingCipher", () => {
  it.effect("S3.20 opens what it sealed", () =>
    Effect.gen(function*() {
      const cipher = yield* cipherOf(one)
      for (const text of ["plain", "pässwörd \u{1f511}", "", "x".repeat(64 * 1024)]) {
        const sealed = yield* cipher.seal(context, Redacted.make(text))
        assert.strictEqual(Redacted.value(yield* cipher.open(context, sealed)), text)
        assert.strictEqual(Redacted.value(yield* cipher.open(context, sealed)), text)
      }
    }))

  it.effect("S3.19 never gives the same envelope twice", () =>
    Effect.gen(function*() {
      const cipher = yield* cipherOf(one)
      const [first, second] = [yield* cipher.seal(context, token), yield* cipher.seal(context, token)]
      assert.notDeepEqual(first, second)
    }))

  it.effect("CRY-11 seals under the primary key and opens under every key of the ring, until one is retired", () =>
    Effect.gen(function*() {
      const old = yield* (yield* cipherOf(one)).seal(context, token)
      const both = yield* cipherOf(`${two},${one}`)
      const fresh = yield* both.seal(context, token)
      assert.strictEqual(Envelope.keyIdOf(old), 1)
      assert.strictEqual(Envelope.keyIdOf(fresh), 2)
      assert.strictEqual(Redacted.value(yield* both.open(context, old)), "gho_token")
      const retired = yield* cipherOf(two)
      assert.strictEqual((yield* Effect.flip(retired.open(context, old))).code, "encryption_key_unavailable")
      assert.strictEqual(Redacted.value(yield* retired.open(context, fresh)), "gho_token")
    }))

  it.effect("CRY-16 fails for a key that this replica lacks, and opens once the key is in its source", () =>
    Effect.gen(function*() {
      let keys = one
      const source = KeySource.make(Effect.suspend(() => KeySource.fromText(Redacted.make(keys)).ring))
      const cipher = yield* cipherOver(source)
      const own = yield* cipher.seal(context, token)
      const ahead = yield* (yield* cipherOf(`${two},${one}`)).seal(context, token)
      assert.strictEqual((yield* Effect.flip(cipher.open(context, ahead))).code, "encryption_key_unavailable")
      assert.strictEqual(Redacted.value(yield* cipher.open(context, own)), "gho_token")
      keys = `${one},${two}`
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Redacted.value(yield* cipher.open(context, ahead)), "gho_token")
      assert.strictEqual(Envelope.keyIdOf(yield* cipher.seal(context, token)), 1)
    }))

  it.effect("S3.22 fails under another key of the same id, also right after the ring changed", () =>
    Effect.gen(function*() {
      let keys = `${one},${two}`
      const source = KeySource.make(Effect.suspend(() => KeySource.fromText(Redacted.make(keys)).ring))
      const cipher = yield* cipherOver(source)
      const sealed = yield* cipher.seal(context, token)
      yield* cipher.open(context, sealed)
      keys = entry(1)
      yield* TestClock.adjust("1 second")
      yield* source.reload
      assert.strictEqual((yield* Effect.flip(cipher.open(context, sealed))).code, "integrity_error")
    }))

  it.effect("S3.23 S3.24 CRY-02 builds without a key, and neither seals nor opens without one", () =>
    Effect.gen(function*() {
      const sealed = yield* (yield* cipherOf(one)).seal(context, token)
      const cipher = yield* cipherOf(undefined)
      const errors = [
        yield* Effect.flip(cipher.seal(context, token)),
        yield* Effect.flip(cipher.open(context, sealed))
      ]
      for (const error of errors) {
        assert.strictEqual(error.code, "encryption_key_missing")
        assert.notInclude(error.message, "gho_token")
      }
    }))

  it.effect("I13 CRY-08 CRY-09 S3.21 fails for any other place, instance or byte, before and after a good open", () =>
    Effect.gen(function*() {
      const cipher = yield* cipherOf(one)
      const sealed = yield* cipher.seal(context, token)
      const moved: ReadonlyArray<SealContext> = [
        { ...context, table: "flows" },
        { ...context, tenant: TenantId.make("other") },
        { ...context, row: "user-2/github" },
        { ...context, field: "refresh_token" },
        { ...context, generation: 6 },
        { ...context, generation: 8 }
      ]
      const altered = [84, 52, 8, 40, sealed.length - 1, 0].map((at) => {
        const copy = Uint8Array.from(sealed)
        copy[at]! ^= 1
        return copy as Sealed
      })
      for (let pass = 0; pass < 2; pass++) {
        for (const place of moved) {
          assert.strictEqual((yield* Effect.flip(cipher.open(place, sealed))).code, "integrity_error")
        }
        for (const bytes of altered) {
          assert.strictEqual((yield* Effect.flip(cipher.open(context, bytes))).code, "integrity_error")
        }
        assert.strictEqual(Redacted.value(yield* cipher.open(context, sealed)), "gho_token")
      }
      const clone = yield* cipherOf(one, "inst2")
      assert.strictEqual((yield* Effect.flip(clone.open(context, sealed))).code, "integrity_error")
    }))

  it.effect("CRY-03 takes no plaintext for an envelope", () =>
    Effect.gen(function*() {
      const cipher = yield* cipherOf(one)
      for (const text of ["", "gho_token", JSON.stringify({ access_token: "x".repeat(200) })]) {
        const error = yield* Effect.flip(cipher.open(context, new TextEncoder().encode(text) as unknown as Sealed))
        assert.strictEqual(error.code, "integrity_error")
      }
    }))
})
