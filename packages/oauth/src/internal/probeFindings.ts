import { ScopeToken } from "@valetkey/domain/Server"
import { termsOf } from "@valetkey/domain/SignedResponse"
import { Option, Schema } from "effect"
import { IssuerMetadata } from "../IssuerMetadata.ts"
import type { ProtectedResource } from "../ProtectedResource.ts"
import { offeredBy } from "../SignedResponse.ts"
import type { Members } from "./jsonObject.ts"

/** One thing that a server's metadata says, or leaves out, and what follows from it. */
export interface Finding {
  readonly subject: string
  /** `warn` is what works with less comfort or more work; with `fail` no connection comes about as it is. */
  readonly state: "ok" | "warn" | "fail"
  readonly found: string
  /** Who has to do something: the person who runs the command, or the operator of the authorization server. */
  readonly who?: "you" | "operator" | undefined
  readonly todo?: string | undefined
}

/** What there is to judge; the document is absent where the authorization server publishes none. */
interface Evidence {
  readonly protectedResource: ProtectedResource
  readonly document: Members | undefined
}

/** Judges everything by itself, in the order in which a connection meets it. */
export const judge = (evidence: Evidence): ReadonlyArray<Finding> => {
  const { document, protectedResource } = evidence
  if (document === undefined) return [resource(protectedResource), ...customary(protectedResource)]
  return [
    resource(protectedResource),
    metadata(document),
    ...people(document),
    ...responseMode(evidence),
    pkce(document),
    registration(document),
    authentication(document),
    ...scopes(protectedResource, document),
    ...possession(protectedResource, document),
    refreshing(document),
    sender(document),
    revocation(document),
    ...demands(document)
  ]
}

const ok = (subject: string, found: string): Finding => ({ subject, state: "ok", found })
const warn = (subject: string, found: string, who?: Finding["who"], todo?: string): Finding => ({
  subject,
  state: "warn",
  found,
  who,
  todo
})
const fail = (subject: string, found: string, who: Finding["who"], todo: string): Finding => ({
  subject,
  state: "fail",
  found,
  who,
  todo
})

const resource = ({ authorizationServers, isProtected }: ProtectedResource): Finding => {
  const [first, ...others] = authorizationServers
  if (first !== undefined) {
    return others.length === 0
      ? ok("resource", "names its authorization server")
      : warn("resource", `names ${authorizationServers.length} authorization servers; the first is taken`)
  }
  return isProtected
    ? warn("resource", "wants a token and does not say whose; its own origin is asked (as before RFC 9728)")
    : warn(
      "resource",
      "publishes no metadata and answers without a token",
      "you",
      "check that the URL is the one that needs a token"
    )
}

/** A server of the oldest revision of MCP that publishes nothing. */
const customary = ({ authorizationServers, isProtected }: ProtectedResource): ReadonlyArray<Finding> =>
  isProtected && authorizationServers.length === 0
    ? [
      warn(
        "metadata",
        "there is none; endpoints are taken to be where MCP of 2025-03-26 has them: /authorize, /token and /register",
        "operator",
        "publish authorization server metadata (RFC 8414)"
      )
    ]
    : []

const isReadable = Schema.is(IssuerMetadata)

const metadata = (document: Members): Finding =>
  isReadable(document)
    ? ok("metadata", "found and consistent with its issuer")
    : fail(
      "metadata",
      `malformed: ${malformed(document).join(", ")}`,
      "operator",
      "mend the metadata (RFC 8414 §2), or give the endpoints with valetkey servers add"
    )

/** The members that keep a document from being read. */
const malformed = (document: Members): ReadonlyArray<string> =>
  Object.entries(IssuerMetadata.fields).flatMap(([name, field]) => {
    const required = name === "issuer" || name === "token_endpoint"
    if (!Object.hasOwn(document, name)) return required ? [`${name} is missing`] : []
    return Schema.is(field as Schema.Codec<unknown>)(document[name]) ? [] : [name]
  })

/** What keeps anybody from being sent there with a browser. */
const people = (document: Members): ReadonlyArray<Finding> => {
  const grants = listIn(document, "grant_types_supported")
  const responses = listIn(document, "response_types_supported")
  const advice = `offer the authorization code grant${otherwise(document)}`
  return [
    ...(document["authorization_endpoint"] === undefined
      ? [fail("consent", "there is no authorization endpoint", "operator", advice)]
      : []),
    ...(grants !== undefined && !grants.includes("authorization_code")
      ? [fail("consent", "the authorization code grant is not offered", "operator", advice)]
      : []),
    ...(responses !== undefined && !responses.includes("code")
      ? [fail("consent", "the response type code is not offered", "operator", advice)]
      : [])
  ]
}

/** How the response comes back with the browser: in a query, as it is or as a signed token (JARM). */
const responseMode = ({ document, protectedResource }: Evidence): ReadonlyArray<Finding> => {
  const modes = document && listIn(document, "response_modes_supported")
  if (document === undefined || modes === undefined) return []
  const signed = isReadable(document) ? offeredBy(document, protectedResource.resource) : undefined
  const plain = modes.includes("query")
  const device = otherwise(document)
  if (signed === undefined) {
    return plain
      ? []
      : [fail("response mode", "query is not offered", "operator", `take response_mode query for code${device}`)]
  }
  const { algorithms } = termsOf(signed) ?? {}
  if (algorithms !== undefined) {
    const found = `${signed.mode}, signed with ${algorithms.join(" or ")}`
    return [ok("response mode", plain ? `query; with quirks.signedResponses ${found}` : `${found}, and no other`)]
  }
  return plain ? [] : [
    fail(
      "response mode",
      "signed alone (JARM), and not so that it can be verified",
      "operator",
      `name jwks_uri and ES256 in authorization_signing_alg_values_supported, or offer query${device}`
    )
  ]
}

/** What is left to a person where no browser brings an answer back. */
const otherwise = (document: Members): string =>
  document["device_authorization_endpoint"] === undefined ? "" : "; connect with --transport device"

const pkce = (document: Members): Finding => {
  const methods = listIn(document, "code_challenge_methods_supported")
  if (methods?.includes("S256") === true) return ok("PKCE", "S256")
  return methods === undefined
    ? fail(
      "PKCE",
      "is not advertised",
      "operator",
      "advertise S256; if the server's documentation says that it checks PKCE, take the draft, whose quirk says so"
    )
    : fail("PKCE", "is advertised without S256", "operator", "offer S256 (RFC 7636 §4.2); nothing weaker is used")
}

const registration = (document: Members): Finding => {
  const dynamic = document["registration_endpoint"] !== undefined
  if (document["client_id_metadata_document_supported"] === true) {
    return dynamic
      ? ok("client", "by our metadata document where we publish one, else registered on first use")
      : warn(
        "client",
        "by a client metadata document alone",
        "you",
        "connect through a server with an https VALETKEY_PUBLIC_URL, publish a document (VALETKEY_CLIENT_METADATA_URL), or register a client by hand"
      )
  }
  return dynamic
    ? ok("client", "registered on first use")
    : warn(
      "client",
      "is not registered without a person",
      "you",
      "create one with the authorization server's operator, then: valetkey servers add NAME URL --client-id ID --client-secret-stdin < secret"
    )
}

const spoken = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]

const authentication = (document: Members): Finding => {
  const offered = listIn(document, "token_endpoint_auth_methods_supported") ?? ["client_secret_basic"]
  const shared = offered.filter((method) => spoken.includes(method))
  return shared.length > 0
    ? ok("client authentication", shared.join(", "))
    : fail("client authentication", "no method that Valetkey speaks", "operator", `offer one of ${spoken.join(", ")}`)
}

const isScope = Schema.is(ScopeToken)

const scopes = ({ scopes: wanted }: ProtectedResource, document: Members): ReadonlyArray<Finding> => {
  const supported = listIn(document, "scopes_supported")?.filter((scope) => isScope(scope)) ?? []
  if (wanted !== undefined) return [ok("scopes", some(wanted))]
  return [
    warn(
      "scopes",
      supported.length === 0
        ? "nobody says which; none are asked for"
        : `none are asked for; there are ${some(supported)}`,
      "you",
      "name them with --scope if a token without any is good for nothing"
    )
  ]
}

/** Whether tokens are bound to a key, and whether ours can be such a key (RFC 9449 §5.1). */
const possession = ({ bindsTokens }: ProtectedResource, document: Members): ReadonlyArray<Finding> => {
  if (!bindsTokens) return []
  const algorithms = listIn(document, "dpop_signing_alg_values_supported")
  return [
    algorithms === undefined || algorithms.includes("ES256")
      ? ok("DPoP", "tokens are bound to a key of the connection")
      : fail("DPoP", "is demanded, and not with ES256", "operator", "accept proofs that are signed with ES256")
  ]
}

const refreshing = (document: Members): Finding => {
  const grants = listIn(document, "grant_types_supported")
  const offline = listIn(document, "scopes_supported")?.includes("offline_access") === true
  if (grants?.includes("refresh_token") === true) {
    return ok("refresh tokens", offline ? "offered, with the scope offline_access" : "offered")
  }
  return warn(
    "refresh tokens",
    "are not advertised",
    "operator",
    "name refresh_token among grant_types_supported; without one the person consents again when a token ends"
  )
}

const sender = (document: Members): Finding =>
  document["authorization_response_iss_parameter_supported"] === true
    ? ok("iss", "answers name their sender")
    : warn("iss", "answers do not name their sender (RFC 9207); redirect URIs of their own tell servers apart")

const revocation = (document: Members): Finding =>
  document["revocation_endpoint"] === undefined
    ? warn("revocation", "there is no endpoint: disconnecting forgets tokens and cannot end them")
    : ok("revocation", "tokens are ended on disconnect")

/** What a server may demand that Valetkey does not do. */
const demands = (document: Members): ReadonlyArray<Finding> => [
  ...(document["require_pushed_authorization_requests"] !== true
    ? []
    : document["pushed_authorization_request_endpoint"] === undefined
    ? [fail("PAR", "is demanded (RFC 9126) and has no endpoint", "operator", "name its endpoint in the metadata")]
    : [ok("PAR", "requests are pushed, as demanded")]),
  ...(document["require_signed_request_object"] === true
    ? [fail("request objects", "are demanded (RFC 9101)", "operator", "accept requests that are not signed")]
    : [])
]

const decodeList = Schema.decodeUnknownOption(Schema.Array(Schema.String))

const listIn = (document: Members, name: string): ReadonlyArray<string> | undefined =>
  Option.getOrUndefined(decodeList(document[name]))

/** The first few of a list that may be long. */
const some = (list: ReadonlyArray<string>): string =>
  list.length <= 12 ? list.join(" ") : `${list.slice(0, 12).join(" ")} and ${list.length - 12} more`
