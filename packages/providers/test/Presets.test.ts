import { assert, describe, it } from "@effect/vitest"
import { Server } from "@valetkey/domain/Server"
import * as Expansion from "@valetkey/providers/Expansion"
import * as PresetLint from "@valetkey/providers/PresetLint"
import * as Presets from "@valetkey/providers/Presets"
import { Result, Schema } from "effect"
import { readdirSync, readFileSync } from "node:fs"

const folder = new URL("../src/presets/", import.meta.url)
const files = readdirSync(folder)

/** Values for every parameter, as its example shows them. */
const examples = (id: string): Record<string, string> =>
  Object.fromEntries(Object.entries(Presets.find(id)?.parameters ?? {}).map(([name, { example }]) => [name, example]))

describe("Presets", () => {
  it("are at least forty, and every file is one of them", () => {
    assert.isAtLeast(files.length, 40)
    assert.deepStrictEqual(Presets.all.map(({ id }) => `${id}.json`).sort(), [...files].sort())
  })

  it("have no mistake", () => {
    const sources = files.map((file) => ({ file, text: readFileSync(new URL(file, folder), "utf8") }))
    assert.deepStrictEqual(PresetLint.lint(sources).map(PresetLint.show), [])
  })

  it("are counted in docs/providers.md, and those named that nobody compared", () => {
    const page = readFileSync(new URL("../../../docs/providers.md", import.meta.url), "utf8")
    const open = Presets.all.filter(({ verified }) => verified === undefined).map(({ id }) => id)
    assert.include(page, `${Presets.all.length - open.length} of ${Presets.all.length} presets are verified`)
    for (const id of open) assert.include(page, `| \`${id}\` |`)
  })

  for (const preset of Presets.all) {
    it(`${preset.id} makes a server of a description`, () => {
      const description = Result.getOrThrow(Expansion.expand(preset, examples(preset.id))).description
      const server = Schema.decodeUnknownSync(Server)({ ...description, tenant: "acme", slug: preset.id })
      assert.notMatch(JSON.stringify(server), /[{][a-z]+[}]/)
      // A provider that was not written for MCP gives no refresh token unless it is asked in its own way.
      if (preset.registration.kind === "console") assert.strictEqual(server.quirks.resourceParameter, false)
    })
  }
})

describe("Expansion", () => {
  const salesforce = Presets.find("salesforce")!

  it("puts parameters in every place and takes their usual values", () => {
    const description = Result.getOrThrow(Expansion.expand(Presets.find("gitlab")!, {})).description
    assert.strictEqual(description.resource, "https://gitlab.com/api/v4")
    const own = Result.getOrThrow(Expansion.expand(Presets.find("gitlab")!, { host: "git.example:8443" })).description
    assert.deepStrictEqual(own.endpoints, {
      authorization: "https://git.example:8443/oauth/authorize",
      token: "https://git.example:8443/oauth/token",
      revocation: "https://git.example:8443/oauth/revoke",
      deviceAuthorization: "https://git.example:8443/oauth/authorize_device"
    })
  })

  it("says which parameter is missing, unknown or malformed, and repeats no value", () => {
    const problem = (given: Readonly<Record<string, string>>) => {
      const expanded = Expansion.expand(salesforce, given)
      return Result.isFailure(expanded)
        ? [expanded.failure.parameter, expanded.failure.problem, expanded.failure.message]
        : ["none"]
    }
    assert.deepStrictEqual(problem({}).slice(0, 2), ["domain", "missing"])
    assert.match(String(problem({})[2]), /My Domain.*acme\.my\.salesforce\.com/)
    assert.deepStrictEqual(problem({ domain: "a.example", realm: "x" }).slice(0, 2), ["realm", "unknown"])
    for (
      const value of [
        "",
        "a/b",
        "a.example/",
        "a@b",
        "a?b",
        "a#b",
        "a b",
        "a\\b",
        "a%2fb",
        "-a",
        "a.",
        "..",
        "a:b",
        "a:123456",
        "é",
        "a\n",
        "{x}"
      ]
    ) {
      assert.deepStrictEqual(problem({ domain: value }).slice(0, 2), ["domain", "malformed"], value)
    }
    assert.notInclude(String(problem({ domain: "hunter2/" })[2]), "hunter2")
  })

  it("tells how long refresh tokens live where that is documented", () => {
    const told = (id: string) => Result.getOrThrow(Expansion.expand(Presets.find(id)!, examples(id))).description
    assert.strictEqual(told("box").refreshTokenIdleLimit, "60 days")
    assert.notProperty(told("linear"), "refreshTokenIdleLimit")
  })

  it("never sends a refresh token twice whose second use ends the grant", () => {
    const quirks = (id: string) =>
      Result.getOrThrow(Expansion.expand(Presets.find(id)!, examples(id))).description.quirks
    assert.strictEqual(quirks("okta").redemptionPolicy, "strict")
    assert.isUndefined(quirks("box").redemptionPolicy)
  })
})
