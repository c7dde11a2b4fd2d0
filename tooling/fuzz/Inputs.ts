import fc from "fast-check"

/** What the world may send, most of it nearly honest: an honest text, broken here and there. */

/** Pieces at which readers of these texts take their turns. */
const pieces = [
  "",
  " ",
  "\t",
  "\r\n",
  ",",
  ";",
  "=",
  "\"",
  "\\",
  "\\\"",
  "&",
  "%",
  "%zz",
  "+",
  "#",
  "?",
  "/",
  "..",
  ":",
  "@",
  "[",
  "]",
  "{",
  "}",
  "<html>",
  "null",
  "true",
  "-1",
  "1e400",
  "9007199254740993",
  "\u0000",
  "\u00e9",
  "\u2028",
  "\ud800",
  "\u{1f511}",
  "__proto__",
  "constructor",
  "Bearer",
  "DPoP",
  "Basic",
  "realm",
  "error",
  "scope",
  "resource_metadata"
] as const

const piece = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...pieces) },
  { weight: 2, arbitrary: fc.string({ maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom(...pieces), fc.integer({ min: 2, max: 4000 })).map(([text, times]) =>
      text.repeat(times)
    )
  }
)

/** One change: what is put in the place of how much, and where. */
const change = fc.record({ at: fc.nat(), cut: fc.nat(20), put: piece })

/** Honest texts with up to six changes. */
const broken = (honest: ReadonlyArray<string>): fc.Arbitrary<string> =>
  fc.tuple(fc.constantFrom(...honest), fc.array(change, { maxLength: 6 })).map(([text, changes]) =>
    changes.reduce((before, { at, cut, put }) => {
      const place = at % (before.length + 1)
      return before.slice(0, place) + put + before.slice(place + cut)
    }, text)
  )

/** `WWW-Authenticate`, RFC 9110 §11.6.1. */
export const challenge: fc.Arbitrary<string> = broken([
  "Bearer",
  "Bearer realm=\"notes\", error=\"invalid_token\", error_description=\"The token expired\", scope=\"a b\"",
  "Bearer resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource\", scope=\"mcp:read\"",
  "Basic realm=\"a, b=c\", DPoP algs=\"ES256\", error=\"use_dpop_nonce\", Bearer error=insufficient_scope",
  "Negotiate dG9rZW4=="
])

/** Any JSON value, shallow and small, with the names and values that matter more often than others. */
const value = (names: ReadonlyArray<string>): fc.Arbitrary<unknown> =>
  fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3, depthIdentifier: "value" },
      piece,
      fc.constantFrom<unknown>(null, true, false, 0, -1, 3600, 1e308, "", "https://as.example", "http://10.0.0.1/x"),
      fc.double(),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...names, "__proto__", "toString"), tie("value"), { maxKeys: 3 })
    )
  })).value

const depth = fc.integer({ min: 1, max: 20_000 })

/** A document of which one member goes deeper than a recursive reader can follow. */
const deep = (honest: { readonly [name: string]: unknown }, name: string, levels: number): string => {
  const marked = JSON.stringify({ ...honest, [name]: "deep" })
  return marked.replace("\"deep\"", "[".repeat(levels) + "]".repeat(levels))
}

/** A JSON document of these honest members: some left out, some changed, some more; now and then the text itself is broken. */
const document = (honest: { readonly [name: string]: unknown }): fc.Arbitrary<string> => {
  const names = Object.keys(honest)
  const members = fc.record({
    left: fc.subarray(names, { maxLength: 3 }),
    changed: fc.dictionary(fc.constantFrom(...names), value(names), { maxKeys: 3 }),
    more: fc.dictionary(fc.string({ maxLength: 8 }), value(names), { maxKeys: 2 })
  }).map(({ changed, left, more }) => {
    const kept = Object.entries({ ...honest, ...changed, ...more }).filter(([name]) => !left.includes(name))
    return JSON.stringify(Object.fromEntries(kept))
  })
  return fc.oneof(
    { weight: 6, arbitrary: members },
    { weight: 2, arbitrary: members.chain((text) => broken([text])) },
    { weight: 1, arbitrary: value(names).map((any) => JSON.stringify(any) ?? "") },
    {
      weight: 1,
      arbitrary: fc.tuple(fc.constantFrom(...names), depth).map(([name, levels]) => deep(honest, name, levels))
    },
    { weight: 1, arbitrary: depth.map((levels) => "[".repeat(levels)) }
  )
}

const base64url = (text: string): string => Buffer.from(text).toString("base64url")

/** A signed authorization response, JARM §2.1: its payload broken inside, or the token itself, and nobody's signature. */
export const signedResponse: fc.Arbitrary<string> = fc.tuple(
  fc.constantFrom("{\"alg\":\"ES256\",\"kid\":\"es\"}", "{\"alg\":\"none\"}", "{\"alg\":\"HS256\"}", "{"),
  document({
    iss: "https://as.example",
    aud: "client",
    exp: 4_102_444_800,
    state: "af0ifjsldkj",
    code: "SplxlOBeZQQYbYS6WxSbIA",
    error: "access_denied"
  })
).map((parts) => `${parts.map(base64url).join(".")}.c2ln`).chain((token) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(token) }, { weight: 1, arbitrary: broken([token]) })
)

/** The query of an authorization response, RFC 6749 §4.1.2, RFC 9207 and JARM §2.3.1. */
export const query: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 2,
    arbitrary: broken([
      "code=SplxlOBeZQQYbYS6WxSbIA&state=af0ifjsldkj&iss=https%3A%2F%2Fas.example",
      "error=access_denied&error_description=no&state=af0ifjsldkj",
      "code=a&code=b&state=c&state=d",
      "state=&code=",
      "response=e30.eyJzdGF0ZSI6ImFmMGlmanNsZGtqIn0.c2ln&response=&state=a"
    ])
  },
  { weight: 1, arbitrary: signedResponse.map((token) => new URLSearchParams({ response: token }).toString()) }
)

/** RFC 9728 §2. */
export const resourceMetadata: fc.Arbitrary<string> = document({
  resource: "https://mcp.example/mcp",
  authorization_servers: ["https://as.example"],
  scopes_supported: ["mcp:read"],
  bearer_methods_supported: ["header"]
})

/** RFC 8414 §2. */
export const serverMetadata: fc.Arbitrary<string> = document({
  issuer: "https://as.example",
  authorization_endpoint: "https://as.example/authorize",
  token_endpoint: "https://as.example/token",
  revocation_endpoint: "https://as.example/revoke",
  registration_endpoint: "https://as.example/register",
  device_authorization_endpoint: "https://as.example/device",
  code_challenge_methods_supported: ["S256"],
  token_endpoint_auth_methods_supported: ["none", "client_secret_basic"],
  scopes_supported: ["mcp:read", "offline_access"],
  authorization_response_iss_parameter_supported: true,
  client_id_metadata_document_supported: true,
  response_modes_supported: ["query", "query.jwt"],
  authorization_signing_alg_values_supported: ["ES256"],
  jwks_uri: "https://as.example/jwks"
})

/** RFC 7591 §3.2.1. */
export const registration: fc.Arbitrary<string> = document({
  client_id: "s6BhdRkqt3",
  client_secret: "a-client-secret",
  client_secret_expires_at: 0,
  redirect_uris: ["https://valetkey.example/cb"],
  token_endpoint_auth_method: "client_secret_basic",
  grant_types: ["authorization_code", "refresh_token"]
})

/** RFC 8628 §3.2. */
export const deviceAuthorization: fc.Arbitrary<string> = document({
  device_code: "a-device-code",
  user_code: "WDJB-MJHT",
  verification_uri: "https://as.example/device",
  verification_uri_complete: "https://as.example/device?user_code=WDJB-MJHT",
  expires_in: 1800,
  interval: 5
})

/** RFC 6749 §5.1 and §5.2, as JSON or as a form. */
export const tokenAnswer: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 6,
    arbitrary: document({
      access_token: "an-access-token",
      token_type: "Bearer",
      expires_in: 3600,
      refresh_token: "a-refresh-token",
      scope: "mcp:read",
      id_token: "e30.e30.e30",
      error: "invalid_grant"
    })
  },
  {
    weight: 2,
    arbitrary: broken([
      "access_token=gho_example&scope=repo%2Cgist&token_type=bearer",
      "error=bad_verification_code&error_description=The+code+passed+is+incorrect",
      "{\"access_token\":\"a\",\"token_type\":\"Bearer\",\"expires_in\":3600}"
    ])
  }
)

/** The head of any of these answers. */
export interface Head {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/** Header values as a client reads them: what cannot stand in a header never arrives. */
const headerValue = piece.map((text) => text.replaceAll(/[^\t\x20-\x7e]/g, "").trim())

export const head: fc.Arbitrary<Head> = fc.record({
  status: fc.oneof({ weight: 4, arbitrary: fc.constant(200) }, {
    weight: 2,
    arbitrary: fc.constantFrom(201, 204, 302, 400, 401, 403, 404, 429, 500, 503)
  }),
  headers: fc.record({
    "content-type": fc.oneof(
      { weight: 4, arbitrary: fc.constant("application/json") },
      { weight: 1, arbitrary: fc.constantFrom("application/x-www-form-urlencoded", "text/plain", "text/html") },
      { weight: 1, arbitrary: headerValue }
    ),
    "retry-after": headerValue,
    date: headerValue,
    location: headerValue,
    "www-authenticate": headerValue
  }, { requiredKeys: [] })
})
