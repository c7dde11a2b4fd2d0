import { assert, describe, it } from "@effect/vitest"
import * as PresetLint from "@valetkey/providers/PresetLint"
import { Result } from "effect"

const sound = `{
  "id": "acme",
  "name": "Acme",
  "documentation": "https://acme.example/oauth",
  "verified": "2026-11-21",
  "resource": "https://{host}/api",
  "endpoints": {
    "authorization": "https://{host}/authorize",
    "token": "https://{host}/token"
  },
  "parameters": {
    "host": { "description": "the host", "example": "acme.example" }
  },
  "scopes": [
    "read",
    "write"
  ],
  "registration": { "kind": "console", "url": "https://acme.example/apps" },
  "authMethod": "client_secret_post",
  "refreshTokens": { "kind": "rotating" },
  "quirks": {
    "scopeSeparator": "comma",
    "authorizationParameters": {
      "prompt": "consent"
    }
  }
}
`

/** The sound preset with one thing in it changed. */
const planted = (what: string | RegExp, by: string): string => {
  const text = sound.replace(what, by)
  assert.notStrictEqual(text, sound)
  return text
}

const lineOf = (text: string, part: string): number => text.slice(0, text.indexOf(part)).split("\n").length

// A mistake, where it stands (by something on that line), the field that is named, and the sentence.
const mistakes: ReadonlyArray<readonly [name: string, text: string, mark: string, field: string, message: RegExp]> = [
  ["an unknown field", planted(`"name"`, `"nmae": "A",\n  "name"`), "nmae", "nmae", /not a field of a preset/],
  ["an unknown field below", planted(`"token":`, `"tokn":`), "tokn", "endpoints.tokn", /not a field/],
  [
    "an unknown quirk",
    planted(`"scopeSeparator"`, `"scopeSeperator"`),
    "Seperator",
    "quirks.scopeSeperator",
    /not a field/
  ],
  [
    "an http endpoint",
    planted(`"https://{host}/token"`, `"http://{host}/token"`),
    "http://{",
    "endpoints.token",
    /https URL/
  ],
  [
    "an endpoint with credentials",
    planted(`"https://{host}/token"`, `"https://u:p@x/t"`),
    "u:p",
    "endpoints.token",
    /credentials/
  ],
  ["a scope with a space in it", planted(`"read",`, `"read write",`), "read write", "scopes.0", /a scope token/],
  [
    "a scope with the separator in it",
    planted(`"write"`, `"write,admin"`),
    "write,admin",
    "scopes.1",
    /separator in it/
  ],
  ["a scope twice", planted(`"write"`, `"read"`), `"read"\n`, "scopes.1", /twice/],
  ["no documentation", planted(/  "documentation".*\n/, ""), "{", "documentation", /Missing key/],
  [
    "no endpoints and no issuer",
    planted(/  "endpoints": \{[^}]*\}[^}]*\}[^}]*\},\n/, ""),
    "{",
    "",
    /endpoints, or an issuer/
  ],
  [
    "an issuer beside endpoints that nobody needs",
    planted(`  "endpoints"`, `  "issuer": "https://{host}",\n  "endpoints"`),
    `"issuer"`,
    "issuer",
    /ID tokens alone/
  ],
  [
    "a parameter that is ours",
    planted(`"prompt"`, `"state"`),
    `"state"`,
    "quirks.authorizationParameters.state",
    /Valetkey's own/
  ],
  [
    "a challenge that is ours",
    planted(`"prompt"`, `"code_challenge"`),
    "code_challenge",
    "quirks.authorizationParameters.code_challenge",
    /Valetkey's own/
  ],
  [
    "a scope parameter that is ours",
    planted(`"scopeSeparator": "comma"`, `"scopeParameter": "redirect_uri"`),
    "scopeParameter",
    "quirks.scopeParameter",
    /Valetkey's own/
  ],
  [
    "a placeholder without a parameter",
    planted(`"https://{host}/api"`, `"https://{site}/api"`),
    "{site}",
    "resource",
    /\{site\} is not among/
  ],
  [
    "a parameter that stands nowhere",
    planted(`"host": {`, `"region": { "description": "d", "example": "e" },\n    "host": {`),
    `"region"`,
    "parameters.region",
    /stands in no URL/
  ],
  ["a day that is none", planted("2026-11-21", "2026-02-30"), "02-30", "verified", /day of the calendar/],
  [
    "lives of refresh tokens that are not there",
    planted(`{ "kind": "rotating" }`, `{ "kind": "none", "idleDays": 3 }`),
    "idleDays",
    "refreshTokens",
    /there are none/
  ],
  [
    "a revocation without an endpoint",
    planted(`"scopeSeparator": "comma",`, `"tokenDialect": { "revocation": "bearer" },`),
    "bearer",
    "quirks.tokenDialect.revocation",
    /endpoints.revocation/
  ],
  ["a field twice", planted(`"authMethod"`, `"name": "Again",\n  "authMethod"`), `"Again"`, "name", /twice/],
  ["a comma too many", planted(`"write"\n`, `"write",\n`), `  ],\n  "registration"`, "", /not JSON/],
  ["an unknown authentication method", planted("client_secret_post", "magic"), "magic", "authMethod", /Expected/]
]

describe("PresetLint", () => {
  it("lets a sound preset pass", () => {
    assert.deepStrictEqual(PresetLint.lint([{ file: "acme.json", text: sound }]), [])
  })

  for (const [name, text, mark, field, message] of mistakes) {
    it(`names file, line and field of ${name}`, () => {
      const found = PresetLint.lint([{ file: "a/acme.json", text }])
      const [mistake] = found.filter((one) => one.field === field && message.test(one.message))
      assert.isDefined(mistake, JSON.stringify(found))
      assert.strictEqual(mistake.line, lineOf(text, mark), PresetLint.show(mistake))
      assert.match(PresetLint.show(mistake), /^a\/acme\.json:\d+ {2}/)
    })
  }

  it("names an id that another file has, and a file that is called otherwise", () => {
    const found = PresetLint.lint([{ file: "acme.json", text: sound }, { file: "other.json", text: sound }])
    assert.deepStrictEqual(found.map(PresetLint.show), [
      "other.json:2  id: is taken by acme.json",
      "other.json:2  id: belongs in acme.json"
    ])
  })

  it("finds every mistake at once and repeats no value", () => {
    const text = planted(`"name": "Acme"`, `"name": ["hunter2"],\n  "secret": "hunter3"`).replace("rotating", "hunter4")
    const read = PresetLint.read({ file: "acme.json", text })
    assert.isTrue(Result.isFailure(read))
    if (Result.isFailure(read)) {
      assert.deepStrictEqual(read.failure.map(({ field }) => field).sort(), ["name", "refreshTokens.kind", "secret"])
      assert.notMatch(JSON.stringify(read.failure), /hunter/)
    }
  })

  it("ends with a sentence for whatever is no preset", () => {
    for (
      const text of [
        "",
        "null",
        "[]",
        "{}",
        "\"",
        "{\"a\":",
        "[".repeat(10_000),
        "{\"a\":".repeat(10_000),
        "\u0000",
        "{\"__proto__\": 1}"
      ]
    ) {
      const found = PresetLint.lint([{ file: "x.json", text }])
      assert.isAbove(found.length, 0, text.slice(0, 20))
      for (const { line, message } of found) assert.isTrue(line >= 1 && message.length > 0)
    }
  })
})
