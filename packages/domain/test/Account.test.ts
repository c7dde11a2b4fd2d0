import { assert, describe, it } from "@effect/vitest"
import * as Account from "@valetkey/domain/Account"
import { Schema } from "effect"
import fc from "fast-check"

const ada = { issuer: "https://as.example", id: "248289761001" }

describe("Account.judge", () => {
  it("BIND-13 lets issuer and id tell accounts apart, to the letter, and nothing else", () => {
    assert.isTrue(Account.isSame(ada, { ...ada }))
    assert.isFalse(Account.isSame(ada, { ...ada, issuer: "https://as.example/" }))
    assert.isFalse(Account.isSame({ ...ada, id: "a" }, { ...ada, id: "A" }))
    const renamed = Account.judge({ ...ada, label: "ada" }, { ...ada, label: "lovelace" }, "refuse")
    assert.deepStrictEqual(renamed, { _tag: "Accepted", account: { ...ada, label: "lovelace" }, replaced: false })
    // Another consent may ask for less, and the name is still right.
    const nameless = Account.judge({ ...ada, label: "ada" }, ada, "refuse")
    assert.deepStrictEqual(nameless, { _tag: "Accepted", account: { ...ada, label: "ada" }, replaced: false })
    const namesake = { ...ada, id: "248289761002", label: "ada" }
    assert.deepStrictEqual(Account.judge({ ...ada, label: "ada" }, namesake, "refuse"), { _tag: "Changed" })
  })
})

describe("Account.labelOf", () => {
  it("takes a name as it is", () => {
    for (const name of ["ada@example.org", "Ada Lovelace", "Žofie", "李小龍", "ada 👩"]) {
      assert.strictEqual(Account.labelOf(name), name)
    }
  })

  it("is one line that reads as it stands, whatever somebody called themselves", () => {
    assert.strictEqual(Account.labelOf("ada\u202egro.live\u001b[31m\r\nroot:\u0000"), "ada gro.live [31m root:")
    assert.strictEqual(Account.labelOf(" \u00a0a\tb\u2028c\u3000\ud800"), "a b c")
    for (const nothing of ["", "   ", "\u200b\u2060", undefined, null, 7, { toString: "x" }, ["ada"]]) {
      assert.isUndefined(Account.labelOf(nothing))
    }
  })

  it("is bounded, whole characters only, and always what is stored", () => {
    const isLabel = Schema.is(Account.NamedAccount)
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 400 }), (text) => {
      const label = Account.labelOf(text)
      if (label === undefined) return
      assert.isTrue(isLabel({ ...ada, label }))
      assert.notMatch(label, /\p{C}|[\p{Zl}\p{Zp}]|^\s|\s$|\s\s/u)
      assert.strictEqual(Account.labelOf(label), label)
    }))
    assert.strictEqual(Account.labelOf("👩".repeat(100)), "👩".repeat(60))
    assert.strictEqual(Account.labelOf(`a${"👩".repeat(100)}`), `a${"👩".repeat(59)}`)
    assert.strictEqual(Account.labelOf("x".repeat(1_000_000))?.length, Account.maxLabel)
  })
})
