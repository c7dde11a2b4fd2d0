import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { createDecipheriv, createSecretKey, randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Envelope from "../src/Envelope.ts"
import { associatedData, derive, sealWithUnsafe } from "../src/internal/envelope.ts"
import { decrypt } from "./Independent.ts"
import { collide } from "./Salamander.ts"

interface Vectors {
  readonly valid: ReadonlyArray<{
    readonly name: string
    readonly keyId: number
    readonly key: string
    readonly salt: string
    readonly nonce: string
    readonly context: Envelope.EnvelopeContext
    readonly plaintext: string
    readonly envelope: string
  }>
  readonly refused: ReadonlyArray<{
    readonly name: string
    readonly failure: Envelope.OpenFailure
    readonly keys: Readonly<Record<string, string>>
    readonly context: Envelope.EnvelopeContext
    readonly envelope: string
  }>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL("./vectors/envelope-v1.json", import.meta.url), "utf8"))

const rootOf = (bytes: Uint8Array, id = 1): Envelope.RootKey => ({ id, secret: createSecretKey(bytes) })
const bytesOf = (hex: string): Buffer => Buffer.from(hex, "hex")

const context: Envelope.EnvelopeContext = {
  instance: "inst",
  table: "connections",
  tenant: "tenantA",
  row: "c1",
  field: "refresh_token",
  generation: 7
}

const root = rootOf(randomBytes(32))
const secret = Buffer.from("the refresh token")
const envelope = Buffer.from(Envelope.seal(root, context, secret))

/** Opens without a cache and with one that has seen the right envelope; both must agree. */
const open = (bytes: Uint8Array, where = context, key = root): Result.Result<Buffer, Envelope.OpenFailure> => {
  const keyOf = (id: number) => id === key.id ? key : undefined
  const cache = new Envelope.DerivedKeyCache()
  Envelope.open(keyOf, context, envelope, cache)
  const cold = Envelope.open(keyOf, where, bytes)
  const warm = Envelope.open(keyOf, where, bytes, cache)
  assert.deepStrictEqual(warm, cold)
  return cold
}

const failureOf = (bytes: Uint8Array, where?: Envelope.EnvelopeContext, key?: Envelope.RootKey) => {
  const opened = open(bytes, where, key)
  return Result.isFailure(opened) ? opened.failure : "opened"
}

describe("vectors", () => {
  for (const { context, envelope, key, keyId, name, nonce, plaintext, salt } of vectors.valid) {
    it(`S3.17 S3x.14 CRY-21 seals and opens as published: ${name}`, async () => {
      const root = rootOf(bytesOf(key), keyId)
      const sealed = sealWithUnsafe(root, context, bytesOf(plaintext), { salt: bytesOf(salt), nonce: bytesOf(nonce) })
      assert.strictEqual(Buffer.from(sealed).toString("hex"), envelope)
      assert.strictEqual(Envelope.keyIdOf(sealed), keyId)
      const opened = Envelope.open((id) => id === keyId ? root : undefined, context, bytesOf(envelope))
      assert.strictEqual(Result.getOrThrow(opened).toString("hex"), plaintext)
      const independent = await decrypt({ [keyId]: bytesOf(key) }, context, bytesOf(envelope))
      assert.strictEqual(Buffer.from(independent).toString("hex"), plaintext)
    })
  }

  for (const { context, envelope, failure, keys, name } of vectors.refused) {
    it(`I13 CRY-21 refuses as published: ${name}`, async () => {
      const opened = Envelope.open(
        (id) => keys[id] === undefined ? undefined : rootOf(bytesOf(keys[id]), id),
        context,
        bytesOf(envelope)
      )
      assert.deepStrictEqual(opened, Result.fail(failure))
      const ring = Object.fromEntries(Object.entries(keys).map(([id, key]) => [id, bytesOf(key)]))
      const independent = decrypt(ring, context, bytesOf(envelope))
      assert.strictEqual(await independent.then(() => "opened", ({ message }: Error) => message), failure)
    })
  }

  it("CRY-21 the vectors show every class of failure, and the second reader shares no code with the package", () => {
    assert.deepStrictEqual(
      [...new Set(vectors.refused.map(({ failure }) => failure))].sort(),
      ["commitment", "format", "key_unavailable", "tag"]
    )
    assert.notMatch(readFileSync(new URL("./Independent.ts", import.meta.url), "utf8"), /\b(import|require)\b(?!Key)/)
  })

  it("CRY-21 S3.18 the published format names every parameter that the vectors depend on", () => {
    const format = readFileSync(new URL("../FORMAT.md", import.meta.url), "utf8")
    for (const part of ["VK01", "valetkey/envelope/v1\\0", "HKDF-SHA256", "AES-256-GCM", "salt", "envelope-v1.json"]) {
      assert.include(format, part)
    }
    for (const { failure } of vectors.refused) assert.include(format, failure)
  })
})

describe("seal", () => {
  it("S3.20 gives back ASCII, unicode, nothing, and 64 KiB", () => {
    for (const text of ["plain", "pässwörd \u{1f511} 鍵", "", "x".repeat(64 * 1024)]) {
      const sealed = Envelope.seal(root, context, Buffer.from(text))
      assert.strictEqual(sealed.byteLength, Buffer.byteLength(text) + 100)
      assert.strictEqual(Result.getOrThrow(open(sealed)).toString(), text)
    }
  })

  it("S3.19 CRY-14 never uses a salt or a nonce twice", () => {
    const salts = new Set<string>()
    const nonces = new Set<string>()
    for (let round = 0; round < 20000; round++) {
      const sealed = Buffer.from(Envelope.seal(root, context, secret))
      salts.add(sealed.toString("hex", 8, 40))
      nonces.add(sealed.toString("hex", 40, 52))
    }
    assert.strictEqual(salts.size, 20000)
    assert.strictEqual(nonces.size, 20000)
  })

  it("leaves no part of the plaintext in the envelope", () => {
    const plaintext = randomBytes(256)
    const sealed = Buffer.from(Envelope.seal(root, context, plaintext)).toString("hex")
    for (let at = 0; at + 8 <= plaintext.length; at++) {
      assert.notInclude(sealed, plaintext.toString("hex", at, at + 8))
    }
  })
})

describe("open", () => {
  it("I13 CRY-06 S3.21 refuses every single-bit flip", () => {
    for (let bit = 0; bit < envelope.length * 8; bit++) {
      const flipped = Buffer.from(envelope)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      const at = bit >> 3
      const expected = at < 4 ? "format" : at < 8 ? "key_unavailable" : at < 84 ? "commitment" : "tag"
      assert.strictEqual(failureOf(flipped), expected, `bit ${bit}`)
    }
  })

  it("I13 CRY-07 S3.21 refuses truncation at each length, and anything appended", () => {
    for (let length = 0; length < envelope.length; length++) {
      assert.strictEqual(failureOf(envelope.subarray(0, length)), length < 100 ? "format" : "tag", `${length}`)
    }
    assert.strictEqual(failureOf(Buffer.concat([envelope, Buffer.alloc(1)])), "tag")
  })

  it("CRY-07 refuses tags of 4, 8 and 12 bytes, which GCM itself would take", () => {
    for (const length of [4, 8, 12]) {
      assert.strictEqual(failureOf(envelope.subarray(0, envelope.length - 16 + length)), "tag")
    }
  })

  it("I13 CRY-08 CRY-09 refuses every swap of a context field, and every older or newer generation", () => {
    const others: ReadonlyArray<Envelope.EnvelopeContext> = [
      { ...context, instance: "inst2" },
      { ...context, table: "flows" },
      { ...context, tenant: "tenantB" },
      { ...context, row: "c2" },
      { ...context, field: "access_token" },
      { ...context, generation: 6 },
      { ...context, generation: 8 }
    ]
    for (const other of others) assert.strictEqual(failureOf(envelope, other), "commitment")
  })

  it("CRY-08 CRY-12 opens in one context only, whatever the fields are made of", () => {
    const pieces = ["", "a", "b", "ab", "bc", "a\0b", "1", "11", "é", "e\u0301", "/"]
    const pick = () => pieces[randomBytes(1)[0]! % pieces.length]!
    const key = (it: Envelope.EnvelopeContext) => JSON.stringify(Object.values(it))
    for (let round = 0; round < 2000; round++) {
      const [here, there] = [0, 1].map((): Envelope.EnvelopeContext => ({
        instance: pick(),
        table: pick(),
        tenant: pick(),
        row: pick(),
        field: pick(),
        generation: randomBytes(1)[0]! % 3
      })) as [Envelope.EnvelopeContext, Envelope.EnvelopeContext]
      const opened = Envelope.open(() => root, there, Envelope.seal(root, here, secret))
      assert.strictEqual(Result.isSuccess(opened), key(here) === key(there))
    }
  })

  it("CRY-12 tells apart contexts whose fields join to the same text", () => {
    const sealed = Envelope.seal(root, { ...context, tenant: "a", row: "bc" }, secret)
    assert.strictEqual(failureOf(sealed, { ...context, tenant: "ab", row: "c" }), "commitment")
    assert.strictEqual(failureOf(sealed, { ...context, tenant: "", row: "abc" }), "commitment")
  })

  it("CRY-03 refuses plaintext and unknown versions", () => {
    for (const text of ["", "{}", "gho_token", "x".repeat(300), `VK02${"x".repeat(300)}`, `VK1${"x".repeat(300)}`]) {
      assert.strictEqual(failureOf(Buffer.from(text)), "format")
    }
  })

  it("S3.22 refuses under any other key, of another id or of the same", () => {
    assert.strictEqual(failureOf(envelope, context, rootOf(randomBytes(32))), "commitment")
    assert.strictEqual(failureOf(envelope, context, rootOf(randomBytes(32), 2)), "key_unavailable")
  })

  it("CRY-11 refuses an envelope whose key id was set to another key of the ring or to a retired one", () => {
    const ring = new Map([[1, root], [2, rootOf(randomBytes(32), 2)]])
    for (const [id, failure] of [[2, "commitment"], [3, "key_unavailable"]] as const) {
      const relabelled = Buffer.from(envelope)
      relabelled.writeUInt32BE(id, 4)
      assert.deepStrictEqual(Envelope.open((id) => ring.get(id), context, relabelled), Result.fail(failure))
    }
  })

  it("CRY-13 refuses a ciphertext made to decrypt under two keys", () => {
    const roots = [randomBytes(32), randomBytes(32)] as const
    const header = envelope.subarray(0, 52)
    const nonce = header.subarray(40)
    const aad = associatedData(header, context)
    const derived = roots.map((bytes) => derive(createSecretKey(bytes), header.subarray(8, 40), aad))
    const [first, second] = derived as [typeof derived[number], typeof derived[number]]
    const { ciphertext, tag } = collide([first.key.export(), second.key.export()], nonce, aad)

    for (const { key } of derived) {
      const bare = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 }).setAAD(aad).setAuthTag(tag)
      assert.strictEqual(Buffer.concat([bare.update(ciphertext), bare.final()]).length, 16)
    }
    for (const [named, other] of [[0, 1], [1, 0]] as const) {
      const crafted = Buffer.concat([header, derived[named]!.commitment, ciphertext, tag])
      assert.isTrue(Result.isSuccess(Envelope.open(() => rootOf(roots[named]), context, crafted)))
      assert.deepStrictEqual(Envelope.open(() => rootOf(roots[other]), context, crafted), Result.fail("commitment"))
    }
  })
})

describe("DerivedKeyCache", () => {
  it("holds as many keys as it was told, dropping the one that was not used for longest", () => {
    const cache = new Envelope.DerivedKeyCache(2)
    const opens = (sealed: Uint8Array) => Envelope.open(() => root, context, sealed, cache)
    const sealed = [0, 1, 2].map(() => Envelope.seal(root, context, secret)) as [Uint8Array, Uint8Array, Uint8Array]
    opens(sealed[0])
    opens(sealed[1])
    opens(sealed[0])
    opens(sealed[2])
    assert.strictEqual(cache.size, 2)
    // Under another root key only an envelope whose key is remembered still opens.
    const other = rootOf(randomBytes(32))
    const remembered = (bytes: Uint8Array) => Result.isSuccess(Envelope.open(() => other, context, bytes, cache))
    assert.deepStrictEqual(sealed.map(remembered), [true, false, true])
  })

  it("forgets what was derived from one key, and nothing else", () => {
    const cache = new Envelope.DerivedKeyCache()
    const [mine, theirs] = [rootOf(randomBytes(32)), rootOf(randomBytes(32))]
    const sealed = [mine, theirs].map((root) => Envelope.seal(root, context, secret)) as [Uint8Array, Uint8Array]
    for (const [index, root] of [mine, theirs].entries()) Envelope.open(() => root, context, sealed[index]!, cache)
    cache.forget(mine)
    assert.strictEqual(cache.size, 1)
    const remembered = (bytes: Uint8Array) => Result.isSuccess(Envelope.open(() => root, context, bytes, cache))
    assert.deepStrictEqual(sealed.map(remembered), [false, true])
  })
})
