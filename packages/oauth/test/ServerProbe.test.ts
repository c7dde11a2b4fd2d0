import { assert, describe, it } from "@effect/vitest"
import { local } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as ServerProbe from "@valetkey/oauth/ServerProbe"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect } from "effect"

const layer = Egress.layer({ policy: local() })

/** State and text of each finding, by its subject. */
const told = ({ findings }: ServerProbe.ProbeReport) =>
  Object.fromEntries(findings.map(({ found, state, subject }) => [subject, `${state}: ${found}`]))

/** What the authorization server says besides or instead of what it is; a member that is undefined goes. */
const saying = Effect.fnUntraced(function*(members: Readonly<Record<string, unknown>>) {
  const provider = yield* FakeProvider.make()
  provider.always("serverMetadata", Reply.patch(members))
  return yield* ServerProbe.probe(provider.resource)
})

/** Nothing that changes anything, and nothing that says who asks. */
const askedQuestionsAlone = (provider: FakeProvider.FakeProvider) => {
  for (
    const endpoint of ["registration", "token", "pushedAuthorization", "device", "revocation", "authorization"] as const
  ) {
    assert.deepStrictEqual(provider.requests(endpoint), [], endpoint)
  }
  for (const { headers, url } of provider.log) {
    assert.notProperty(headers, "authorization")
    assert.notProperty(headers, "cookie")
    assert.strictEqual(url.search, "")
  }
}

describe("ServerProbe", () => {
  it.live("says of a server that has everything that it works, by questions alone, each asked once", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const report = yield* ServerProbe.probe(provider.resource)
      assert.isUndefined(report.failure)
      assert.strictEqual(report.issuer, provider.issuer)
      assert.strictEqual(report.metadata?.tokenEndpoint, `${provider.issuer}/token`)
      assert.deepStrictEqual([...new Set(report.findings.map(({ state }) => state))], ["ok"])
      assert.deepStrictEqual(report.asked.map(({ answer, url }) => [new URL(url).pathname, answer]), [
        ["/api", 401],
        ["/.well-known/oauth-protected-resource/api", 200],
        ["/.well-known/oauth-authorization-server", 200]
      ])
      assert.strictEqual(provider.log.length, 3)
      askedQuestionsAlone(provider)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("reads a real MCP server and the provider behind it", () =>
    Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const resource = yield* McpResource.make(provider)
      const report = yield* ServerProbe.probe(resource.url)
      assert.isUndefined(report.failure, JSON.stringify(report.findings))
      assert.strictEqual(report.issuer, provider.issuer)
      assert.strictEqual(report.resource, resource.url)
      assert.deepInclude(told(report), {
        PKCE: "ok: S256",
        client: "ok: by our metadata document where we publish one, else registered on first use",
        "refresh tokens": "ok: offered, with the scope offline_access"
      })
      assert.deepStrictEqual(report.findings.filter(({ state }) => state === "fail"), [])
      assert.deepStrictEqual(provider.log, [])
    }).pipe(Effect.scoped, Effect.provide(layer)))

  // What is said, the subject, the verdict, who acts, and the error that a start would end with.
  const gaps: ReadonlyArray<
    readonly [
      members: Readonly<Record<string, unknown>>,
      subject: string,
      found: RegExp,
      who: string | undefined,
      failure: string | undefined
    ]
  > = [
    [
      { code_challenge_methods_supported: undefined },
      "PKCE",
      /^fail: is not advertised/,
      "operator",
      "pkce_unsupported"
    ],
    [{ code_challenge_methods_supported: ["plain"] }, "PKCE", /^fail: .*without S256/, "operator", "pkce_unsupported"],
    [
      { registration_endpoint: undefined, client_id_metadata_document_supported: undefined },
      "client",
      /^warn: is not registered/,
      "you",
      undefined
    ],
    [{ registration_endpoint: undefined }, "client", /^warn: .*document alone/, "you", undefined],
    [{ authorization_response_iss_parameter_supported: undefined }, "iss", /^warn: /, undefined, undefined],
    [
      { token_endpoint_auth_methods_supported: ["tls_client_auth"] },
      "client authentication",
      /^fail: no method/,
      "operator",
      undefined
    ],
    [
      { grant_types_supported: ["authorization_code"] },
      "refresh tokens",
      /^warn: are not advertised/,
      "operator",
      undefined
    ],
    [
      { grant_types_supported: ["client_credentials"] },
      "consent",
      /^fail: the authorization code grant/,
      "operator",
      undefined
    ],
    [{ response_types_supported: ["token"] }, "consent", /^fail: the response type/, "operator", undefined],
    [
      { authorization_endpoint: undefined },
      "consent",
      /^fail: there is no authorization endpoint/,
      "operator",
      "metadata_invalid"
    ],
    [{ revocation_endpoint: undefined }, "revocation", /^warn: there is no endpoint/, undefined, undefined],
    [{ require_pushed_authorization_requests: true }, "PAR", /^ok: requests are pushed/, undefined, undefined],
    [
      { require_pushed_authorization_requests: true, pushed_authorization_request_endpoint: undefined },
      "PAR",
      /^fail: is demanded/,
      "operator",
      "metadata_invalid"
    ],
    [{ response_modes_supported: ["form_post"] }, "response mode", /^fail: query is not/, "operator", undefined],
    [
      { response_modes_supported: ["jwt", "query.jwt"] },
      "response mode",
      /^fail: signed alone/,
      "operator",
      "signed_response_unsupported"
    ],
    [
      {
        response_modes_supported: ["jwt", "query.jwt"],
        jwks_uri: "https://keys.example/jwks",
        authorization_signing_alg_values_supported: ["HS256", "PS256", "ES256"]
      },
      "response mode",
      /^ok: query\.jwt, signed with ES256 or PS256, and no other$/,
      undefined,
      undefined
    ],
    [
      { response_modes_supported: ["query", "jwt"], jwks_uri: "https://keys.example/jwks" },
      "response mode",
      /^ok: query; with quirks\.signedResponses jwt, signed with RS256$/,
      undefined,
      undefined
    ],
    [
      {
        response_modes_supported: ["query.jwt"],
        jwks_uri: "https://keys.example/jwks",
        authorization_signing_alg_values_supported: ["HS256", "none"]
      },
      "response mode",
      /^fail: signed alone/,
      "operator",
      "signed_response_unsupported"
    ],
    [{ require_signed_request_object: true }, "request objects", /^fail: are demanded/, "operator", undefined],
    [
      { token_endpoint: undefined },
      "metadata",
      /^fail: malformed: token_endpoint is missing/,
      "operator",
      "metadata_invalid"
    ],
    [{ scopes_supported: "all" }, "metadata", /^fail: malformed: scopes_supported$/, "operator", "metadata_invalid"],
    [
      { token_endpoint: "javascript:alert(1)" },
      "metadata",
      /^fail: malformed: token_endpoint$/,
      "operator",
      "metadata_invalid"
    ]
  ]
  for (const [members, subject, found, who, failure] of gaps) {
    it.live(`names ${JSON.stringify(members)} and who must do something`, () =>
      Effect.gen(function*() {
        const report = yield* saying(members)
        const finding = report.findings.find((one) =>
          one.subject === subject && found.test(`${one.state}: ${one.found}`)
        )
        assert.isDefined(finding, JSON.stringify(report.findings))
        assert.strictEqual(finding.who, who)
        assert.strictEqual(finding.todo === undefined, who === undefined)
        assert.strictEqual(report.failure, failure)
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }

  it.live("tells whether a demand for bound tokens can be met", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      assert.notProperty(told(yield* ServerProbe.probe(provider.resource)), "DPoP")
      provider.always("resourceMetadata", Reply.patch({ dpop_bound_access_tokens_required: true }))
      assert.match(String(told(yield* ServerProbe.probe(provider.resource))["DPoP"]), /^ok: /)
      provider.always("serverMetadata", Reply.patch({ dpop_signing_alg_values_supported: ["RS256"] }))
      assert.match(String(told(yield* ServerProbe.probe(provider.resource))["DPoP"]), /^fail: /)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("drafts what silence about PKCE leaves to be known, and nothing for a refusal of it", () =>
    Effect.gen(function*() {
      const silent = yield* saying({ code_challenge_methods_supported: undefined })
      assert.strictEqual(silent.failure, "pkce_unsupported")
      assert.isDefined(silent.metadata)
      assert.isUndefined((yield* saying({ code_challenge_methods_supported: [] })).metadata)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live("says what becomes of a resource without metadata", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const notFound = Reply.json(404, {})
      provider.always("resourceMetadata", notFound)
      provider.always("serverMetadata", notFound)
      const customary = yield* ServerProbe.probe(provider.resource)
      assert.isUndefined(customary.failure)
      assert.match(String(told(customary)["metadata"]), /^warn: there is none; endpoints are taken/)
      provider.always("resource", Reply.raw({ status: 200 }))
      const open = yield* ServerProbe.probe(provider.resource)
      assert.strictEqual(open.failure, "metadata_invalid")
      assert.match(String(told(open)["resource"]), /answers without a token/)
      askedQuestionsAlone(provider)
    }).pipe(Effect.scoped, Effect.provide(layer)))

  const silence = "an answer that never comes"

  // Who lies, what it answers, and the error that follows.
  const lies: ReadonlyArray<
    readonly [
      name: string,
      endpoint: FakeProvider.Endpoint,
      reply: (provider: FakeProvider.FakeProvider) => Reply.Reply,
      failure: string
    ]
  > = [
    ["another issuer", "serverMetadata", () => Reply.patch({ issuer: "https://evil.example" }), "issuer_mismatch"],
    [
      "another resource",
      "resourceMetadata",
      () => Reply.patch({ resource: "https://evil.example/api" }),
      "metadata_invalid"
    ],
    [
      "a loop of redirects",
      "serverMetadata",
      ({ issuer }) => Reply.redirect(`${issuer}/.well-known/oauth-authorization-server`),
      "metadata_invalid"
    ],
    [
      "a redirect inward",
      "serverMetadata",
      () => Reply.redirect("http://169.254.169.254/latest/meta-data"),
      "egress_refused"
    ],
    [
      "an authorization server inside",
      "resourceMetadata",
      () => Reply.patch({ authorization_servers: ["http://10.0.0.1"] }),
      "egress_refused"
    ],
    ["a body without end", "serverMetadata", () => Reply.endless, "metadata_invalid"],
    ["a body that unpacks to much", "serverMetadata", () => Reply.gzipBomb(64), "metadata_invalid"],
    [silence, "serverMetadata", () => Reply.hang, "authorization_server_unreachable"],
    ["a reset", "serverMetadata", () => Reply.reset, "authorization_server_unreachable"],
    ["a server that is down", "serverMetadata", () => Reply.html(503), "authorization_server_unreachable"],
    ["no JSON", "serverMetadata", () => Reply.html(200), "metadata_invalid"]
  ]
  for (const [name, endpoint, reply, failure] of lies) {
    it.live(`ends with a sentence before ${name}, and sends nothing to anybody else`, () =>
      Effect.gen(function*() {
        const provider = yield* FakeProvider.make()
        provider.always(endpoint, reply(provider))
        const report = yield* ServerProbe.probe(provider.resource, {
          deadline: name === silence ? "300 millis" : "20 seconds"
        })
        assert.strictEqual(report.failure, failure, JSON.stringify(report))
        assert.isAbove(report.findings.length, 0)
        assert.isBelow(report.asked.length, 12)
        askedQuestionsAlone(provider)
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }

  it.live("shows a few of many scopes, and none that are no scopes", () =>
    Effect.gen(function*() {
      const provider = yield* FakeProvider.make()
      const scopes = Array.from({ length: 500 }, (_, index) => `scope-${index}`)
      provider.always("resource", Reply.raw({ status: 401 }))
      provider.always("resourceMetadata", Reply.patch({ scopes_supported: undefined }))
      provider.always("serverMetadata", Reply.patch({ scopes_supported: ["\u001b[31mred", ...scopes, "a\nb"] }))
      const report = yield* ServerProbe.probe(provider.resource)
      assert.match(
        String(told(report)["scopes"]),
        /^warn: none are asked for; there are scope-0 .*scope-11 and 488 more$/
      )
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
