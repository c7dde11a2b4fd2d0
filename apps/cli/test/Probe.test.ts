import { assert, describe, it } from "@effect/vitest"
import * as PresetLint from "@valetkey/providers/PresetLint"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Result } from "effect"
import { writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

describe("valetkey probe", () => {
  it.live("tells what works with a real MCP server, without a server of ours and without registering", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* OidcProvider.make()
      const resource = yield* McpResource.make(provider)
      const { code, document } = yield* valetkey.json(["probe", resource.url])
      assert.strictEqual(code, 0)
      assert.deepInclude(document, { ok: true, url: resource.url, issuer: provider.issuer })
      assert.deepInclude(document["draft"], {
        resource: resource.url,
        issuer: provider.issuer,
        registration: { kind: "dynamic" }
      })
      const { stdout } = yield* valetkey.run(["probe", resource.url])
      assert.match(stdout, /^ok +PKCE +S256$/m)
      assert.match(stdout, /^(GET|POST) http:\/\/127\.0\.0\.1:\d+\/mcp: 401$/m)
      assert.deepStrictEqual(provider.log, [])
      assert.isUndefined(valetkey.serverPid)
    })))

  it.live("names what fails and who must mend it, and ends with a code of its own", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      provider.always(
        "serverMetadata",
        Reply.patch({
          code_challenge_methods_supported: undefined,
          registration_endpoint: undefined,
          client_id_metadata_document_supported: undefined,
          service_documentation: "https://docs.example/\u001b[31moauth"
        })
      )
      const told = yield* valetkey.run(["probe", provider.resource])
      assert.strictEqual(told.code, 1)
      assert.match(told.stdout, /^FAIL +PKCE +is not advertised$/m)
      assert.match(told.stdout, /^PKCE, the authorization server's operator: advertise S256/m)
      assert.match(told.stdout, /^client, you: create one with/m)
      assert.include(told.stdout, "\"assumePkceSupport\": true")
      assert.notInclude(told.stdout, "\u001b")
      assert.match(told.stderr, /1 thing keeps a connection/)
      const { document, error } = yield* valetkey.json(["probe", provider.resource])
      assert.strictEqual(error.code, "probe_found_problems")
      assert.strictEqual((document["error"] as Readonly<Record<string, unknown>>)["connect"], "pkce_unsupported")
    })))

  it.live("drafts a preset that the linter reads once it leads to https", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const provider = yield* FakeProvider.make()
      const { document } = yield* valetkey.json(["probe", provider.resource])
      const draft = JSON.stringify(document["draft"], null, 2)
      const read = PresetLint.read({ file: "draft.json", text: draft })
      assert.deepStrictEqual(
        Result.isFailure(read) ? read.failure.map(({ field }) => field).sort() : [],
        ["documentation", "issuer", "resource"]
      )
      const file = join(dirname(valetkey.home.data), "draft.json")
      writeFileSync(file, draft.replaceAll("http://", "https://"))
      assert.strictEqual((yield* valetkey.json(["servers", "add", "mine", "--preset", file])).code, 0)
    })))

  it.live("refuses what is no URL, and what is inside", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      for (const url of ["notes", "ftp://a.example", "https://u:hunter2@a.example", "https://a.example/#f"]) {
        const { code, stdout } = yield* valetkey.json(["probe", url])
        assert.strictEqual(code, 2, url)
        assert.notInclude(stdout, "hunter2")
      }
      for (const url of ["https://10.0.0.1/mcp", "http://169.254.169.254/"]) {
        const { code, document } = yield* valetkey.json(["probe", url])
        assert.strictEqual(code, 1)
        assert.include(JSON.stringify(document), "egress_refused")
      }
    })))
})
