import { assert, describe, it } from "@effect/vitest"
import * as Memo from "@valetkey/domain/Memo"

describe("a memo", () => {
  it("asks once for each text, and anew for whatever there was no room for", () => {
    const asked: Array<string> = []
    const lengthOf = Memo.make((text) => asked.push(text) && text.length, 2)
    assert.deepStrictEqual(["a", "bb", "a", "bb"].map(lengthOf), [1, 2, 1, 2])
    assert.deepStrictEqual(asked, ["a", "bb"])
    assert.deepStrictEqual(["ccc", "a", "ccc"].map(lengthOf), [3, 1, 3])
    assert.deepStrictEqual(asked, ["a", "bb", "ccc", "a"])
  })

  it("asks again for what failed", () => {
    let failing = true
    const of = Memo.make((text) => {
      if (failing) throw new Error("not yet")
      return text
    })
    assert.throws(() => of("a"), "not yet")
    failing = false
    assert.strictEqual(of("a"), "a")
  })
})
