import { assert, describe, it } from "@effect/vitest"
import { maxArchive } from "@valetkey/domain/ArchiveLimits"
import * as AgeFile from "@valetkey/keyring/AgeFile"
import * as Canary from "@valetkey/testing/Canary"
import { generateIdentity, identityToRecipient } from "age-encryption"
import { Effect } from "effect"
import { readDocument, type Reading, readSealed } from "../src/ArchiveReader.ts"

const connection = {
  server: "notes",
  issuer: "https://as.example",
  clientId: "c",
  refreshToken: Canary.makeText("refresh")
}
const archive = { format: "valetkey.archive", version: 1, connections: [connection] }

const bytesOf = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value))

/** The code of a refusal, whose sentence must be fit for anybody to see. */
const codeOf = (reading: Reading): string => {
  if (reading._tag === "Read") return "read"
  assert.notInclude(reading.sentence, connection.refreshToken.slice(-20))
  assert.notMatch(reading.sentence, /[\p{Cc}]/u)
  return reading.code
}

const key = Effect.promise(async () => {
  const identity = await generateIdentity()
  Canary.register("age_identity", identity.slice(-40))
  return { identities: [identity], recipient: await identityToRecipient(identity) }
})

describe("the document of an archive", () => {
  it("is read with nothing but what a person must write", () => {
    const reading = readDocument(bytesOf(archive))
    assert.strictEqual(codeOf(reading), "read")
    assert.deepStrictEqual(reading._tag === "Read" ? reading.connections : [], [connection])
  })

  it("is refused for what it is: no JSON, no archive, another version, an empty or a doubtful one", () => {
    const cases: ReadonlyArray<readonly [string, unknown]> = [
      ["archive_invalid", ""],
      ["archive_invalid", "{"],
      ["archive_invalid", "null"],
      ["archive_invalid", "[]"],
      ["archive_invalid", {}],
      ["archive_invalid", { ...archive, format: "other" }],
      ["archive_version_unknown", { ...archive, version: 2 }],
      ["archive_version_unknown", { ...archive, version: "1" }],
      ["archive_version_unknown", { format: archive.format, connections: [] }],
      ["archive_empty", { ...archive, connections: [] }],
      ["archive_invalid", { ...archive, connections: {} }],
      ["archive_invalid", { ...archive, extra: true }],
      ["archive_invalid", { ...archive, connections: [{ ...connection, secret: "x" }] }],
      ["archive_invalid", { ...archive, connections: [{ ...connection, refreshToken: "" }] }],
      ["archive_invalid", { ...archive, connections: [{ ...connection, refreshToken: 7 }] }],
      ["archive_invalid", { ...archive, connections: [{ ...connection, server: "No" }] }],
      ["archive_invalid", { ...archive, connections: [{ ...connection, issuer: "ftp://x" }] }],
      ["archive_invalid", { ...archive, connections: [{ ...connection, [`\u001b[2J${connection.refreshToken}`]: 1 }] }],
      ["archive_invalid", JSON.stringify(archive).replace("\"clientId\"", "\"clientId\":\"d\",\"clientId\"")],
      ["archive_invalid", JSON.stringify(archive).replace("\"clientId\"", "\"client\\u0049d\":\"d\",\"clientId\"")],
      ["archive_too_large", `${JSON.stringify(archive)}${" ".repeat(maxArchive)}`]
    ]
    for (const [code, value] of cases) {
      const reading = readDocument(bytesOf(value))
      assert.strictEqual(reading._tag === "Read" ? "read" : reading.code, code, JSON.stringify(value).slice(0, 80))
    }
    assert.strictEqual(codeOf(readDocument(Buffer.from([0x7b, 0xff, 0x7d]))), "archive_invalid")
  })

  it("says where a fault is", () => {
    const reading = readDocument(bytesOf({ ...archive, connections: [connection, { ...connection, scopes: [1] }] }))
    assert.include(reading._tag === "Refused" ? reading.sentence : "", "connections.1.scopes.0")
  })
})

describe("a sealed archive", () => {
  it.effect(
    "LIFE-05 is read by who holds its identity, and tells a wrong key from a damaged file from none at all",
    () =>
      Effect.gen(function*() {
        const { identities, recipient } = yield* key
        const stranger = yield* key
        const file = yield* Effect.promise(() => AgeFile.sealTo(bytesOf(archive), recipient))
        const read = (bytes: Uint8Array, opener: AgeFile.AgeKey = { _tag: "Identities", identities }) =>
          Effect.map(Effect.promise(() => readSealed(bytes, opener)), codeOf)
        assert.strictEqual(yield* read(file), "read")
        assert.strictEqual(yield* read(file, { ...stranger, _tag: "Identities" }), "identity_wrong")
        assert.strictEqual(yield* read(file, { _tag: "Passphrase", passphrase: "x" }), "passphrase_wrong")
        assert.strictEqual(
          yield* read(file, { _tag: "Identities", identities: ["AGE-SECRET-KEY-1"] }),
          "identity_invalid"
        )
        assert.strictEqual(yield* read(bytesOf(archive)), "archive_unknown")
        assert.strictEqual(yield* read(new Uint8Array()), "archive_unknown")
        for (let length = 0; length < file.length; length++) {
          const code = yield* read(file.subarray(0, length))
          assert.strictEqual(code, length < 22 ? "archive_unknown" : "archive_damaged", `cut at ${length}`)
        }
        for (let at = 0; at < file.length; at++) {
          const altered = Buffer.from(file)
          altered[at]! ^= 0x01
          const code = yield* read(altered)
          assert.include(["archive_unknown", "archive_damaged", "identity_wrong"], code, `altered at ${at}`)
        }
      }),
    60_000
  )

  it.effect("is refused by what is in it like a plaintext document", () =>
    Effect.gen(function*() {
      const { identities, recipient } = yield* key
      for (const [code, value] of [["archive_version_unknown", { ...archive, version: 9 }], ["archive_invalid", "x"]]) {
        const file = yield* Effect.promise(() => AgeFile.sealTo(bytesOf(value), recipient))
        assert.strictEqual(
          codeOf(yield* Effect.promise(() => readSealed(file, { _tag: "Identities", identities }))),
          code
        )
      }
    }))
})
