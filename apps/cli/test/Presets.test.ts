import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

describe("valetkey servers add from a preset", () => {
  it.live("describes the provider by its name, with a client that was registered by hand", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const secret = Canary.makeText("client_secret")
      const args = ["servers", "add", "slack", "--client-id", "c1", "--client-secret-stdin"]
      const added = yield* valetkey.json([...args, "--redirect-uri", "https://a.example/cb"], {}, secret)
      assert.deepStrictEqual(added.document, { ok: true, server: "slack", created: true, preset: "slack" })
      const { document } = yield* valetkey.json(["servers", "show", "slack"])
      assert.deepStrictEqual(document["server"], {
        server: "slack",
        name: "Slack, as the person",
        resource: "https://slack.com/api",
        endpoints: {
          authorization: "https://slack.com/oauth/v2/authorize",
          token: "https://slack.com/api/oauth.v2.access",
          revocation: "https://slack.com/api/auth.revoke"
        },
        scopes: ["channels:read", "users:read"],
        client: { clientId: "c1", authMethod: "client_secret_basic", redirectUri: "https://a.example/cb" },
        quirks: {
          resourceParameter: false,
          scopeSeparator: "comma",
          scopeParameter: "user_scope",
          tokenDialect: { tokensIn: "authed_user", tokenType: "bearer", revocation: "bearer" }
        }
      })
    })))

  it.live("takes parameters, another name, and what flags say instead", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const shown = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
        const added = yield* valetkey.run(["servers", "add", "work", "--client-id", "c1", ...args])
        assert.strictEqual(added.code, 0, added.stderr)
        const { document } = yield* valetkey.json(["servers", "show", "work"])
        return { server: document["server"] as Readonly<Record<string, unknown>>, said: added.stderr }
      })
      const preset = ["--preset", "microsoft-graph", "--set", "tenant=contoso.example"]
      const plain = yield* shown(...preset)
      assert.deepInclude(plain.server, {
        resource: "https://graph.microsoft.com/v1.0",
        scopes: ["offline_access", "User.Read"],
        client: { clientId: "c1", authMethod: "none", redirectUri: "http://localhost:8917/callback" }
      })
      assert.include(JSON.stringify(plain.server["endpoints"]), "/contoso.example/oauth2/v2.0/token")
      assert.include(plain.said, "nobody uses for 90 days")
      const other = yield* shown(...preset, "https://graph.microsoft.com/beta", "--scope", "Mail.Read")
      assert.deepInclude(other.server, { resource: "https://graph.microsoft.com/beta", scopes: ["Mail.Read"] })
    })))

  it.live("says where a client is registered, with which redirect URI, and how to go on", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { code, error } = yield* valetkey.json(["servers", "add", "work", "--preset", "github"])
      assert.strictEqual(code, 2)
      assert.strictEqual(error.code, "client_needed")
      for (
        const part of [
          "https://github.com/settings/developers",
          "http://127.0.0.1:8917/callback",
          "valetkey servers add work --preset github --client-id ID"
        ]
      ) assert.include(error.message, part)
      for (const preset of ["slack", "quickbooks"]) {
        const https = yield* valetkey.json(["servers", "add", preset])
        assert.include(https.error.message, "https redirect URIs alone")
      }
      for (const preset of ["facebook", "microsoft-graph"]) {
        const named = yield* valetkey.json(["servers", "add", preset])
        assert.include(named.error.message, "http://localhost:8917/callback")
      }
      // Who registers clients by itself needs none.
      assert.strictEqual((yield* valetkey.json(["servers", "add", "linear-mcp"])).code, 0)
    })))

  it.live("names what is missing or wrong, and adds nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const file = join(dirname(valetkey.home.data), "mine.json")
      writeFileSync(file, `{\n  "id": "mine",\n  "tokn": "hunter2"\n}\n`)
      for (
        const [args, code, part] of [
          [["nobody"], "preset_not_found", "There is no preset nobody"],
          [["salesforce", "--client-id", "c"], "preset_parameter", "--set domain=VALUE"],
          [["salesforce", "--client-id", "c", "--set", "domain=a/b"], "preset_parameter", "must be a name"],
          [["github", "--client-id", "c", "--set", "x=y"], "preset_parameter", "no parameter x"],
          [["github", "--client-id", "c", "--set", "x"], "usage", "NAME=VALUE"],
          [["a", "https://a.example", "--set", "x=y"], "usage", "goes with a preset"],
          [["a", "--preset", file, "--client-id", "c"], "preset_invalid", "mine.json:3  tokn: is not a field"],
          [["a", "--preset", `${file}.json`, "--client-id", "c"], "preset_not_found", "cannot be read"]
        ] as const
      ) {
        const ended = yield* valetkey.json(["servers", "add", ...args])
        assert.deepStrictEqual([ended.code, ended.error.code], [2, code])
        assert.include(ended.error.message, part)
        assert.notInclude(ended.stdout, "hunter2")
      }
      assert.isUndefined(valetkey.serverPid)
    })))

  it.live("lists presets, and shows one with what there is to know", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { document } = yield* valetkey.json(["servers", "presets"])
      const presets = document["presets"] as ReadonlyArray<Readonly<Record<string, unknown>>>
      assert.isAtLeast(presets.length, 40)
      for (const { documentation } of presets) assert.match(String(documentation), /^https:/)
      assert.match((yield* valetkey.run(["servers", "presets"])).stdout, /gitlab +GitLab +registered by hand +host\n/)
      const shown = (yield* valetkey.run(["servers", "presets", "github"])).stdout
      assert.match(shown, /compared with it +2026-11-21/)
      assert.include(shown, "A connection that nobody uses for 183 days")
      for (const preset of ["jira", "confluence"]) {
        assert.include((yield* valetkey.run(["servers", "presets", preset])).stdout, "After 365 days")
      }
      const rotating = (yield* valetkey.run(["servers", "presets", "todoist"])).stdout
      assert.notInclude(rotating, "There are no refresh tokens")
      assert.isUndefined(valetkey.serverPid)
    })))
})
