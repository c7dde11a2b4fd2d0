import { assert, describe, it } from "@effect/vitest"
import { CompareCode } from "@valetkey/domain/CompareCode"
import { ConnectionKey } from "@valetkey/domain/Connection"
import type { ConnectOffer } from "@valetkey/domain/ConnectOffer"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowId } from "@valetkey/domain/Flow"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Effect, Redacted } from "effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ConnectPage from "../src/ConnectPage.ts"
import { builtIn } from "../src/Languages.ts"

const [english] = builtIn

const offer = (change: {
  readonly tenant?: string
  readonly subject?: string
  readonly scopes?: ReadonlyArray<string>
  readonly resource?: string
  readonly authorizationEndpoint?: string
} = {}): ConnectOffer => ({
  flow: {
    id: FlowId.make("019ab000-0000-7000-8000-000000000001"),
    key: new ConnectionKey({
      tenant: TenantId.make(change.tenant ?? "acme"),
      subject: SubjectId.make(change.subject ?? "ada"),
      server: ServerSlug.make("notes")
    }, { disableChecks: true }),
    state: "pending",
    transport: "gateway",
    confirmation: "none",
    handOffs: 0,
    snapshot: {
      authorizationEndpoint: change.authorizationEndpoint ?? "https://as.example/authorize",
      redirectUri: "https://valetkey.example/callback/context",
      issRequired: false,
      scopes: change.scopes ?? ["notes.read", "notes.write"],
      resource: change.resource ?? "https://notes.example/mcp"
    },
    createdAt: DateTime.makeUnsafe(0),
    expiresAt: DateTime.makeUnsafe(600_000)
  },
  receipt: Digest.make("r".repeat(43)),
  compareCode: CompareCode.make("WDJB-MJHT"),
  browser: "none"
})

const html = (response: HttpServerResponse.HttpServerResponse) =>
  Effect.promise(() => HttpServerResponse.toWeb(response).text())

/** Text as a person reads it. */
const shown = (page: string): string =>
  page.replace(/<style>.*?<\/style>/s, "").replaceAll(/<[^>]+>/g, " ").replaceAll(/\s+/g, " ")

const attacks = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "\"><svg onload=alert(1)>",
  "' autofocus onfocus=alert(1) x='",
  "</bdi></dd></dl><form action=https://evil.example>",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "javascript:alert(1)",
  "<meta http-equiv=refresh content='0;url=https://evil.example'>"
]

describe("the connect page", () => {
  it.effect("WEB-05 BIND-16 says who connects what, where one signs in, with which scopes and where one comes back", () =>
    Effect.gen(function*() {
      const page = yield* html(ConnectPage.offer(english, offer(), "token"))
      const facts = [...page.matchAll(/<dt>(.*?)<\/dt><dd><bdi>(.*?)<\/bdi><\/dd>/g)].map((
        [, term, fact]
      ) => [term, fact])
      assert.deepStrictEqual(facts, [
        ["Connect to", "https://notes.example/mcp"],
        ["The connection will belong to", "ada of acme"],
        ["You sign in at", "as.example"],
        ["It may then use", "notes.read notes.write"],
        ["You come back to", "valetkey.example"]
      ])
      const text = shown(page)
      for (
        const words of [
          "ada of acme asks for access to your account at notes.example",
          "WDJB-MJHT",
          "close this page",
          "Continue to as.example"
        ]
      ) {
        assert.include(text, words)
      }
      const silent = shown(yield* html(ConnectPage.offer(english, offer({ scopes: [] }), "token")))
      assert.include(silent, "what the provider grants by itself")
    }))

  it.effect("WEB-02 shows every remote string as text, in whatever place it stands", () =>
    Effect.gen(function*() {
      for (const attack of attacks) {
        const page = yield* html(
          ConnectPage.offer(
            english,
            offer({ tenant: attack, subject: attack, scopes: [attack], resource: attack }),
            "token"
          )
        )
        assert.notMatch(page, /<(script|img|svg|meta http|form action)/i)
        assert.strictEqual(page.match(/<form /g)?.length, 1)
        assert.notMatch(page, /<[^>]+\son\w+=/i)
        assert.include(
          page,
          attack.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
            .replaceAll("\"", "&quot;").replaceAll("'", "&#39;")
        )
      }
    }))

  it.effect("WEB-10 shows the provider's host as it is looked up, and isolates text that turns around", () =>
    Effect.gen(function*() {
      // The first letter is Cyrillic.
      const page = yield* html(
        ConnectPage.offer(
          english,
          offer({ authorizationEndpoint: "https://\u0430pple.example/authorize", subject: "\u202Eada" }),
          "t"
        )
      )
      assert.include(shown(page), "xn--pple-43d.example")
      assert.notInclude(page, "\u0430pple")
      assert.include(page, "<bdi>\u202Eada of acme</bdi>")
    }))

  it.effect("WEB-06 leaves by a refresh and a link that hold the URL whole, and by nothing else", () =>
    Effect.gen(function*() {
      const url = "https://as.example/authorize?state=s&x=\"><script>&scope=a%20b"
      const response = ConnectPage.departure(english, offer().flow, Redacted.make(url))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers["refresh"], `0; url=${new URL(url).href}`)
      assert.isUndefined(response.headers["location"])
      const page = yield* html(response)
      assert.include(page, `<a href="${new URL(url).href.replaceAll("&", "&amp;")}">`)
      assert.notMatch(page, /<script/i)
    }))
})
