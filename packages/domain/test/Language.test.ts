import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Language from "../src/Language.ts"

const available = ["en", "de", "zh-Hant", "pt-BR"] as const

describe("Language.choose", () => {
  it("takes the most wanted language that is there, and shortens what is asked for until one is", () => {
    const cases: ReadonlyArray<readonly [header: string | undefined, language: string]> = [
      [undefined, "en"],
      ["", "en"],
      ["de", "de"],
      ["DE-at", "de"],
      ["de-AT-1996", "de"],
      ["fr", "en"],
      ["fr, de", "de"],
      ["fr;q=0.9, de;q=0.1, en;q=0.8", "en"],
      ["en;q=0.5, de", "de"],
      ["de;q=0, en", "en"],
      ["de;q=0", "en"],
      ["de;q=0.000, zh-hant-tw", "zh-Hant"],
      // A range is shortened; a language is not: who reads Portuguese of Portugal did not ask for that of Brazil.
      ["pt", "en"],
      ["pt-BR-x-private", "pt-BR"],
      ["*", "en"],
      ["*, de;q=0.5", "de"],
      ["de-x", "de"],
      [" de ; q=1.000 ,\ten", "de"]
    ]
    // A subtag of one letter is no end of a language.
    assert.strictEqual(Language.choose("de-x-own", ["en", "de-x", "de"]), "de")
    for (const [header, language] of cases) assert.strictEqual(Language.choose(header, available), language, header)
  })

  it("takes no part of a header that is malformed, and none of one that is too long", () => {
    for (
      const malformed of [
        "de;q=2",
        "de;q=x",
        "de;q=0.1234",
        "de_AT",
        "d\u00e9",
        "de;level=1",
        "de q=1",
        "-de",
        "de-",
        "de--at"
      ]
    ) {
      assert.strictEqual(Language.choose(malformed, available), "en", malformed)
    }
    assert.strictEqual(Language.choose(`de,${" ".repeat(1020)}`, available), "de")
    assert.strictEqual(Language.choose(`de,${" ".repeat(1022)}`, available), "en")
    assert.strictEqual(Language.choose(`${"fr,".repeat(31)}de`, available), "de")
    assert.strictEqual(Language.choose(`${"fr,".repeat(32)}de`, available), "en")
  })

  it("answers any header with a language that is there", () => {
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom("de", "DE-at", "*", "zh-hant", ";q=0.5", ";q=0", ",", "-", " ", "\t", "pt-BR-x-y")
    )
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        assert.include(available, Language.choose(parts.join(""), available) as never)
      })
    )
  })
})
