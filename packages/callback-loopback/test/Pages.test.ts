import { assert, describe, it } from "@effect/vitest"
import { FlowFailure, FlowState } from "@valetkey/domain/Flow"
import { english, german } from "@valetkey/domain/FlowTexts"
import * as Page from "../src/internal/page.ts"

/** Every page of the listener. */
const pages: ReadonlyArray<Page.Page> = [english, german].flatMap((texts) => [
  ...FlowState.literals.flatMap((state) =>
    [undefined, ...FlowFailure.literals].map((failure) => Page.settled(texts, { state, failure } as never))
  ),
  ...[204, 400, 404, 405, 414, 421].map((status) => Page.rejected(texts, status)),
  Page.untold(texts)
])

describe("the pages of the listener", () => {
  it("LOOP-16 fetch nothing and lead nowhere: no script, no resource, no link", () => {
    for (const { html } of pages) {
      assert.include(html, "<h1>")
      assert.notMatch(html, /<(script|iframe|frame|img|link|object|embed|video|audio|source|track|base|form|a)\b/i)
      assert.notMatch(html, /\s(on\w+|src|srcset|style|ping|href|action)\s*=|http-equiv|fetch\(|url\(|@import/i)
    }
  })

  it("LOOP-16 lead back to where the person began, when that is a page of ours, and nowhere else", () => {
    const back = "http://127.0.0.1:1/connections?\"><script>"
    for (const texts of [english, german]) {
      for (const state of FlowState.literals) {
        const { html } = Page.settled(texts, { state, snapshot: { back } } as never)
        assert.deepStrictEqual([...html.matchAll(/<(?:a|script)\b[^>]*>/g)].map(([tag]) => tag), [
          `<a href="http://127.0.0.1:1/connections?&quot;&gt;&lt;script&gt;">`
        ])
        assert.include(html, `>${texts.back}</a>`)
        assert.notMatch(Page.settled(texts, { state, snapshot: {} } as never).html, /<a\b/)
      }
    }
  })

  it("LOOP-16 come with a policy that allows no request, and no header that invites other origins", () => {
    const policy = Page.headers["content-security-policy"] ?? ""
    const sources = policy.split(";").map((part) => part.trim()).filter((part) => /^[\w-]+-src /.test(part))
    assert.deepStrictEqual(sources.map((part) => part.split(" ")[0]), ["default-src", "style-src"])
    assert.strictEqual(sources[0], "default-src 'none'")
    assert.match(sources[1] ?? "", /^style-src 'sha256-[\w+/=]+'$/)
    for (const name of Object.keys(Page.headers)) assert.notMatch(name, /^access-control-/i)
  })
})
