import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { HttpUrl } from "@valetkey/domain/Server"
import { Effect, Schema } from "effect"
import { processDiscoveryResponse } from "oauth4webapi"
import type { Members } from "./internal/jsonObject.ts"
import { documentFailure, getDocument } from "./internal/metadataDocument.ts"
import type { Outbound } from "./internal/outbound.ts"

/** Schema for the members of authorization server metadata that are used here (RFC 8414 §2). */
export const IssuerMetadata = Schema.Struct({
  issuer: HttpUrl,
  authorization_endpoint: Schema.optionalKey(HttpUrl),
  token_endpoint: HttpUrl,
  revocation_endpoint: Schema.optionalKey(HttpUrl),
  introspection_endpoint: Schema.optionalKey(HttpUrl),
  registration_endpoint: Schema.optionalKey(HttpUrl),
  device_authorization_endpoint: Schema.optionalKey(HttpUrl),
  pushed_authorization_request_endpoint: Schema.optionalKey(HttpUrl),
  require_pushed_authorization_requests: Schema.optionalKey(Schema.Boolean),
  authorization_response_iss_parameter_supported: Schema.optionalKey(Schema.Boolean),
  token_endpoint_auth_methods_supported: Schema.optionalKey(Schema.Array(Schema.String)),
  token_endpoint_auth_signing_alg_values_supported: Schema.optionalKey(Schema.Array(Schema.String)),
  client_id_metadata_document_supported: Schema.optionalKey(Schema.Boolean),
  scopes_supported: Schema.optionalKey(Schema.Array(Schema.String)),
  code_challenge_methods_supported: Schema.optionalKey(Schema.Array(Schema.String)),
  /** What only signed responses need is read by them: no server is unusable for it that sends plain ones. */
  jwks_uri: Schema.optionalKey(Schema.Unknown),
  response_modes_supported: Schema.optionalKey(Schema.Unknown),
  authorization_signing_alg_values_supported: Schema.optionalKey(Schema.Unknown)
})
export type IssuerMetadata = typeof IssuerMetadata.Type

/**
 * Finds an issuer's metadata where RFC 8414 and OpenID Connect Discovery put it; undefined when it publishes none.
 *
 * `spellings` are the identifiers that the metadata may call itself by, compared as strings: one, unless the issuer was
 * inferred from an origin and nobody spelled it. Another name makes the document unusable (RFC 8414 §3.3).
 */
export const find = (
  outbound: Outbound,
  spellings: readonly [string, ...ReadonlyArray<string>],
  resource: string
): Effect.Effect<IssuerMetadata | undefined, DiscoveryError> =>
  Effect.flatMap(findDocument(outbound, spellings, resource), (document) =>
    document === undefined
      ? Effect.undefined
      : Effect.mapError(
        Schema.decodeUnknownEffect(IssuerMetadata)(document),
        () => new DiscoveryError({ code: "metadata_invalid" })
      ))

/** The document that `find` reads, as it is but for the check of its issuer. */
export const findDocument = (
  outbound: Outbound,
  spellings: readonly [string, ...ReadonlyArray<string>],
  resource: string
): Effect.Effect<Members | undefined, DiscoveryError> =>
  Effect.gen(function*() {
    for (const candidate of candidates(spellings[0])) {
      const document = yield* Effect.mapError(
        getDocument(outbound.egress, candidate, resource, outbound.discovery),
        issuerFailure
      )
      if (document === undefined) continue
      yield* checkIssuer(document, spellings)
      return document
    }
    return undefined
  })

/** The well-known URLs of an issuer, in the order of the MCP authorization specification. */
export const candidates = (issuer: string): ReadonlyArray<string> => {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, "")
  return [
    ...new Set([
      `${origin}/.well-known/oauth-authorization-server${path}`,
      `${origin}/.well-known/openid-configuration${path}`,
      `${origin}${path}/.well-known/openid-configuration`
    ])
  ]
}

const checkIssuer = (document: Members, spellings: readonly [string, ...ReadonlyArray<string>]) =>
  Effect.tryPromise({
    try: () => processDiscoveryResponse(new URL(spellings[0]), Response.json(document)),
    catch: () => new DiscoveryError({ code: "issuer_mismatch" })
  }).pipe(
    Effect.filterOrFail(
      // oauth4webapi compares URLs; the identifier is a string.
      ({ issuer }) => spellings.includes(issuer),
      () => new DiscoveryError({ code: "issuer_mismatch" })
    )
  )

const issuerFailure = documentFailure("authorization_server_unreachable")
