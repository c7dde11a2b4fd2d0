import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { armor, Decrypter, generateIdentity, identityToRecipient } from "age-encryption"
import { Effect, Redacted } from "effect"
import { AgeFileError, type AgeKey, open, sealTo, sealUnder } from "../src/AgeFile.ts"

const plaintext = Buffer.from(`{"refreshToken":"${Canary.makeText("refresh_token")}"}`)
const passphrase = Redacted.value(Canary.make("passphrase"))

const holder = Effect.promise(async () => {
  const identity = await generateIdentity()
  Canary.register("age_identity", identity.slice(-40))
  return { identity, recipient: await identityToRecipient(identity) }
})

/** The fault of opening a file; undefined when it opens. */
const faultOf = (file: Uint8Array, key: AgeKey) =>
  Effect.promise(() =>
    open(file, key).then(() => undefined, (error: unknown) => error instanceof AgeFileError ? error.fault : error)
  )

const sealed = Effect.gen(function*() {
  const { identity, recipient } = yield* holder
  const file = yield* Effect.promise(() => sealTo(plaintext, recipient))
  return { file, key: { _tag: "Identities", identities: [identity] } as const }
})

describe("an age file", () => {
  it.effect("LIFE-05 opens for the holder of the identity, plain and armored, and holds nothing in the clear", () =>
    Effect.gen(function*() {
      const { file, key } = yield* sealed
      for (const form of [file, Buffer.from(armor.encode(file)), Buffer.from(`\r\n${armor.encode(file)}\n`)]) {
        assert.deepStrictEqual(Buffer.from(yield* Effect.promise(() => open(form, key))), plaintext)
      }
      assert.isFalse(Buffer.from(file).includes(plaintext.subarray(20, 40)))
      const { recipient } = yield* holder
      const [one, other] = yield* Effect.promise(() =>
        Promise.all([sealTo(plaintext, recipient), sealTo(plaintext, recipient)])
      )
      assert.notDeepEqual(one, other)
    }))

  it.live(
    "LIFE-05 is what age itself makes of a passphrase, so that its own reader opens it",
    () =>
      Effect.gen(function*() {
        const file = yield* Effect.promise(() => sealUnder(plaintext, passphrase))
        assert.match(Buffer.from(file).toString("latin1"), /^age-encryption\.org\/v1\n-> scrypt [\w+/]{22} 18\n/)
        const read = yield* Effect.promise(() => {
          const decrypter = new Decrypter()
          decrypter.addPassphrase(passphrase)
          return decrypter.decrypt(file)
        })
        assert.deepStrictEqual(Buffer.from(read), plaintext)
        assert.strictEqual(yield* faultOf(file, { _tag: "Passphrase", passphrase: `${passphrase}x` }), "wrong_key")
        const { identity } = yield* holder
        assert.strictEqual(yield* faultOf(file, { _tag: "Identities", identities: [identity] }), "wrong_key")
      }),
    60_000
  )

  it.effect("tells a wrong identity, a thing that is none, and a file that is none", () =>
    Effect.gen(function*() {
      const { file, key } = yield* sealed
      const stranger = yield* holder
      assert.strictEqual(yield* faultOf(file, { _tag: "Identities", identities: [stranger.identity] }), "wrong_key")
      assert.strictEqual(
        yield* faultOf(file, { _tag: "Identities", identities: ["AGE-SECRET-KEY-1NONE"] }),
        "invalid_identity"
      )
      assert.strictEqual(yield* faultOf(file, { _tag: "Passphrase", passphrase }), "wrong_key")
      for (const other of ["", "{}", "age-encryption.org/v2\n", "PK\u0003\u0004"]) {
        assert.strictEqual(yield* faultOf(Buffer.from(other), key), "not_age", other)
      }
      assert.strictEqual(yield* faultOf(Buffer.from("-----BEGIN AGE ENCRYPTED FILE-----\nx"), key), "damaged")
      const several = [stranger.identity, ...key.identities]
      assert.isUndefined(yield* faultOf(file, { _tag: "Identities", identities: several }))
    }))

  it.effect("opens at no other length and with no other byte", () =>
    Effect.gen(function*() {
      const { file, key } = yield* sealed
      for (let length = 0; length < file.length; length++) {
        assert.include(["damaged", "not_age"], yield* faultOf(file.subarray(0, length), key), `cut at ${length}`)
      }
      assert.strictEqual(yield* faultOf(Buffer.concat([file, Buffer.from("x")]), key), "damaged")
      for (let at = 0; at < file.length; at++) {
        const altered = Buffer.from(file)
        altered[at]! ^= 1 << at % 8
        assert.include(["damaged", "not_age", "wrong_key"], yield* faultOf(altered, key), `altered at ${at}`)
      }
    }), 60_000)

  it.effect("refuses a recipient that is none", () =>
    Effect.promise(async () => {
      for (
        const recipient of [
          "",
          "age1",
          "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
          "ssh-ed25519 AAAA"
        ]
      ) {
        assert.isTrue(await sealTo(plaintext, recipient).then(() => false, () => true), recipient)
      }
    }))
})
