import { assert, describe, it } from "@effect/vitest"
import { rowOf } from "@valetkey/domain/Sealed"
import fc from "fast-check"

const part = fc.oneof(fc.string({ unit: "grapheme" }), fc.stringMatching(/^[a-z0-9._/%-]{0,8}$/))

describe("a row's identity", () => {
  it("is never that of another list of parts", () => {
    fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
      assert.deepStrictEqual(rowOf(...parts).split("/").map(decodeURIComponent), parts)
    }))
  })

  it("is that of the published format, however it was written", () => {
    fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
      assert.strictEqual(rowOf(...parts), parts.map(encodeURIComponent).join("/"))
    }))
  })
})
