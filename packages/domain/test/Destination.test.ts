import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { below, covers } from "../src/Destination.ts"

const Piece = Schema.Union([
  Schema.Literals([
    "/",
    "//",
    "../",
    "..;x/",
    "%2e./",
    "%252e%252e/",
    "%2e%252E;/",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%252e",
    "%2f",
    "%5C",
    "\\",
    "@",
    ":",
    "?",
    "#",
    ";",
    "%",
    "%00",
    "%0d%0a",
    "https:",
    "evil.example",
    "a",
    "é",
    " ",
    "\t",
    "\n"
  ]),
  Schema.String.check(Schema.isMaxLength(4))
])
const Text = Schema.Array(Piece).check(Schema.isMaxLength(6))
const Resource = Schema.Literals([
  "https://api.example",
  "https://api.example/",
  "https://api.example/v1",
  "https://api.example/v1/",
  "http://127.0.0.1:8080/a/b?team=7"
])

describe("a destination", () => {
  it.prop("PROX-01 PROX-10 is below its resource to the letter, or none", {
    resource: Resource,
    path: Text,
    query: Text
  }, ({ path, query, resource }) => {
    const [tail, search] = [path.join(""), query.join("")]
    const found = below(resource, tail === "" ? "" : `/${tail}`, search)
    if (Result.isFailure(found)) return
    const [base, url] = [new URL(resource), found.success]
    assert.strictEqual(url.origin, base.origin)
    const directory = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`
    assert.isTrue(url.pathname === base.pathname || url.pathname.startsWith(directory), url.href)
    // Whoever decodes once more, or cuts parameters off, still finds itself below.
    for (let text = url.pathname, round = 0; round < 3; round++) {
      const again = URL.parse(text.replaceAll("\\", "/").replaceAll(/;[^/]*/g, ""), base.origin)
      if (again === null) break
      assert.isTrue(`${again.pathname}/`.startsWith(directory) || again.pathname === base.pathname, url.href)
      try {
        text = decodeURIComponent(text)
      } catch {
        break
      }
    }
    assert.isFalse(url.searchParams.has("access_token"))
    assert.strictEqual(url.href, new URL(url.href).href)
  }, { arbitrary: { runs: 3000 } })

  it("PROX-01 takes an ordinary path and query as they are written", () => {
    const at = (resource: string, path: string, query = "") => Result.getOrThrow(below(resource, path, query)).href
    assert.strictEqual(at("https://api.example", ""), "https://api.example/")
    assert.strictEqual(at("https://api.example/v1/", "/a%20b/c:d@e;f=1,2"), "https://api.example/v1/a%20b/c:d@e;f=1,2")
    assert.strictEqual(at("https://api.example/v1?k=1", "/x/", "q=%2F..&r"), "https://api.example/v1/x/?k=1&q=%2F..&r")
  })

  it("PROX-02 covers what is at or below it, segment by segment", () => {
    const cases: ReadonlyArray<readonly [string, string, boolean]> = [
      ["https://a.example", "https://a.example/mcp", true],
      ["https://a.example/mcp", "https://a.example/mcp/", true],
      ["https://a.example/mcp", "https://a.example/mcp2", false],
      ["https://a.example/mcp", "https://a.example", false],
      ["https://a.example/mcp", "http://a.example/mcp", false],
      ["https://a.example/mcp", "https://a.example:444/mcp", false],
      ["https://a.example/mcp?x=1", "https://a.example/mcp", false],
      ["nonsense", "https://a.example", false]
    ]
    for (const [outer, inner, expected] of cases) {
      assert.strictEqual(covers(outer, inner), expected, `${outer} ${inner}`)
    }
  })
})
