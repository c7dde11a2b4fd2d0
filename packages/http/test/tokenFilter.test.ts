import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { makeTokenFilter } from "../src/internal/tokenFilter.ts"

const TokenText = Schema.String.check(Schema.isPattern(/^[\x21-\x7E]{8,40}$/))
const cuts = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))).check(
  Schema.isBetweenLength(1, 20)
)

/** Passes a text through a filter in pieces of the given sizes. */
const filtered = (token: string, text: string, sizes: ReadonlyArray<number>): string => {
  const filter = makeTokenFilter(token)
  const bytes = Buffer.from(text)
  const out: Array<Uint8Array> = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]!
    out.push(Uint8Array.from(filter.push(bytes.subarray(at, at + size))))
    at += size
  }
  out.push(filter.end())
  return Buffer.concat(out).toString()
}

describe("the token filter", () => {
  it.prop("PROX-11 blanks every spelling, wherever the pieces end, and changes no length", {
    token: TokenText,
    before: Schema.String.check(Schema.isMaxLength(30)),
    sizes: cuts
  }, ({ before, sizes, token }) => {
    const spellings = [
      token,
      encodeURIComponent(token),
      JSON.stringify(token).slice(1, -1).replaceAll("/", "\\/"),
      token
    ]
    const text = `${before}${spellings.join(" ")}${before}`
    const shown = filtered(token, text, sizes)
    assert.strictEqual(Buffer.byteLength(shown), Buffer.byteLength(text))
    assert.notInclude(shown, token)
    for (const prefix of ["", "B", "Bearer "]) {
      const encoded = filtered(token, Buffer.from(`${prefix}${token}!`).toString("base64"), sizes)
      const found = Buffer.from(encoded.replaceAll("*", "A"), "base64").toString("latin1")
      assert.notInclude(found, token.slice(2, -2))
    }
  })

  it("PROX-11 holds nothing back that is no beginning of the token", () => {
    const filter = makeTokenFilter("secret-token")
    assert.strictEqual(Buffer.from(filter.push(Buffer.from("data: 1\n\n"))).toString(), "data: 1\n\n")
    assert.strictEqual(Buffer.from(filter.push(Buffer.from("data: sec"))).toString(), "data: ")
    assert.strictEqual(Buffer.from(filter.push(Buffer.from("ond\n\n"))).toString(), "second\n\n")
    assert.lengthOf(filter.end(), 0)
  })
})
