import { assert, describe, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import { createHmac, randomBytes } from "node:crypto"
import { inspect } from "node:util"
import * as KeyRing from "../src/KeyRing.ts"

const key = () => randomBytes(32).toString("base64")
const parse = (text: string) => KeyRing.parse(Redacted.make(text))
const failureOf = (text: string) => {
  const parsed = parse(text)
  return Result.isFailure(parsed) ? parsed.failure : assert.fail("expected a failure")
}

describe("parse", () => {
  it("takes the first key as primary and the others for decryption", () => {
    const [first, second] = [key(), key()]
    for (const text of [`7:${first},4294967295:${second}`, ` 7:${first}\n4294967295:${second}\r\n`]) {
      const ring = Result.getOrThrow(parse(text))
      assert.strictEqual(ring.primary.id, 7)
      assert.deepStrictEqual([...ring.keys].map(([id, { state }]) => [id, state]), [[7, "primary"], [
        4294967295,
        "decrypt"
      ]])
      assert.strictEqual(ring.primary.secret.export().toString("base64"), first)
    }
  })

  it("gives every key a check value that tells keys apart", () => {
    const bytes = randomBytes(32)
    const ring = Result.getOrThrow(parse(`1:${bytes.toString("base64")}`))
    assert.strictEqual(ring.primary.checkValue, createHmac("sha256", bytes).update("kcv").digest("hex").slice(0, 16))
  })

  it("CRY-04 S3.18 refuses malformed and weak keys, naming the field and the entry and never the value", () => {
    const good = key()
    const cases: ReadonlyArray<readonly [string, KeyRing.KeyRingError["problem"]]> = [
      ["changeme", "syntax"],
      [good, "syntax"],
      [`:${good}`, "id"],
      [`k1:${good}`, "id"],
      [`-1:${good}`, "id"],
      [`01:${good}`, "id"],
      [`4294967296:${good}`, "id"],
      [`1.5:${good}`, "id"],
      [`9:${good}`, "duplicate_id"],
      ["1:", "encoding"],
      ["1:changeme!", "encoding"],
      [`1:${good.slice(0, 20)} ${good.slice(20)}`, "encoding"],
      [`1:${randomBytes(32).fill(0xfb).toString("base64url")}`, "encoding"],
      ["1:changeme", "length"],
      [`1:${randomBytes(16).toString("base64")}`, "length"],
      [`1:${randomBytes(31).toString("base64")}`, "length"],
      [`1:${randomBytes(33).toString("base64")}`, "length"],
      [`1:${good.slice(0, 42)}${good[42] === "B" ? "C" : "B"}=`, "encoding"],
      [`1:${Buffer.alloc(32).toString("base64")}`, "weak"],
      [`1:${Buffer.alloc(32, 0x41).toString("base64")}`, "weak"],
      [`1:${Buffer.from("changeme".repeat(4)).toString("base64")}`, "weak"],
      [`1:${Buffer.from("0123456789abcdef".repeat(2)).toString("base64")}`, "weak"],
      [`1:${Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString("base64")}`, "weak"]
    ]
    for (const [entry, problem] of cases) {
      const error = failureOf(`9:${good},${entry}`)
      assert.strictEqual(error.problem, problem, entry)
      assert.strictEqual(error.entry, 2)
      assert.match(error.message, /^VALETKEY_KEYS entry 2: /)
      assert.notInclude(
        inspect(error) + error.message + JSON.stringify(error),
        entry.slice(entry.indexOf(":") + 1) || "\0"
      )
    }
    assert.strictEqual(failureOf(" ").problem, "empty")
    assert.strictEqual(failureOf(`1:${good},`).problem, "syntax")
  })

  it("LEAK-05 shows no key when a ring is inspected", () => {
    const secret = key()
    const ring = Result.getOrThrow(parse(`1:${secret}`))
    assert.notInclude(
      inspect(ring, { depth: 9, showHidden: true }) + JSON.stringify([...ring.keys.values()]),
      secret.slice(0, 12)
    )
  })
})
