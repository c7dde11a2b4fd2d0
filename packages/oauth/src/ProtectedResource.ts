import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { parseScopes } from "@valetkey/domain/Credentials"
import { HttpUrl } from "@valetkey/domain/Server"
import { Effect, Option, Schema } from "effect"
import { type Challenge, parseChallenge } from "./internal/challenge.ts"
import { documentFailure, getDocument } from "./internal/metadataDocument.ts"
import { egressOptions, type Outbound } from "./internal/outbound.ts"

/** What a protected resource says of itself. */
export interface ProtectedResource {
  /** As its metadata spells it, or as it was asked for. */
  readonly resource: string
  /** Empty when the resource publishes no metadata. */
  readonly authorizationServers: ReadonlyArray<string>
  readonly scopes: ReadonlyArray<string> | undefined
  /** Whether it takes tokens with proofs of possession alone (RFC 9728 §2, RFC 9449 §7.1). */
  readonly bindsTokens: boolean
  /** Whether it answered 401 to a request without a token: it wants one, whatever it says of where to get it. */
  readonly isProtected: boolean
}

/**
 * Asks a resource for its authorization servers: by the challenge of a 401, then at the well-known URL with the path
 * of the resource, then at the one of its origin.
 *
 * @see RFC 9728 §3, §5
 */
export const find = (outbound: Outbound, resource: string): Effect.Effect<ProtectedResource, DiscoveryError> =>
  Effect.gen(function*() {
    const { challenge, isProtected } = yield* probe(outbound, resource)
    const isBound = challenge?.bound === true
    const challenged = challenge?.scope === undefined ? undefined : parseScopes(challenge.scope)
    for (const candidate of candidates(resource, challenge?.resourceMetadata)) {
      const document = yield* Effect.mapError(
        getDocument(outbound.egress, candidate, resource, outbound.discovery),
        resourceFailure
      )
      if (document === undefined) continue
      const metadata = Option.getOrUndefined(decode(document))
      if (metadata === undefined || !covers(metadata.resource, resource)) {
        return yield* new DiscoveryError({ code: "metadata_invalid" })
      }
      return {
        resource: metadata.resource,
        authorizationServers: metadata.authorization_servers ?? [],
        scopes: challenged ?? parseScopes(metadata.scopes_supported?.join(" ") ?? ""),
        bindsTokens: isBound || metadata.dpop_bound_access_tokens_required === true,
        isProtected
      }
    }
    return { resource, authorizationServers: [], scopes: challenged, bindsTokens: isBound, isProtected }
  })

/** Whether metadata for one resource speaks for another: the same origin, and a path at or above it. */
export const covers = (described: string, requested: string): boolean => {
  const [outer, inner] = [new URL(described), new URL(requested)]
  const directory = ({ pathname }: URL) => pathname.endsWith("/") ? pathname : `${pathname}/`
  return outer.origin === inner.origin && directory(inner).startsWith(directory(outer)) &&
    (outer.search === "" || outer.search === inner.search)
}

const ResourceMetadata = Schema.Struct({
  resource: HttpUrl,
  authorization_servers: Schema.optionalKey(Schema.Array(HttpUrl)),
  scopes_supported: Schema.optionalKey(Schema.Array(Schema.String)),
  dpop_bound_access_tokens_required: Schema.optionalKey(Schema.Boolean)
})
const decode = Schema.decodeUnknownOption(ResourceMetadata)

const isHttpUrl = Schema.is(HttpUrl)

interface Answer {
  readonly challenge?: Challenge | undefined
  readonly isProtected: boolean
}

/**
 * Without a token the resource answers 401 and may say where to get one. Where nothing can be read, as at most MCP
 * endpoints, it is asked as an MCP client begins. Any other answer says nothing.
 */
const probe = (outbound: Outbound, resource: string): Effect.Effect<Answer, DiscoveryError> =>
  Effect.gen(function*() {
    const read = yield* ask(outbound, resource, { method: "GET" })
    return nothingToRead.includes(read.status)
      ? answerOf(yield* ask(outbound, resource, { method: "POST", body: initialize }))
      : answerOf(read)
  }).pipe(Effect.flatten)

/** What a server answers that has no representation to give at the URL: RFC 9110 §15.5.5, §15.5.6, §15.5.7. */
const nothingToRead: ReadonlyArray<number> = [404, 405, 406]

const initialize = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "valetkey", version: "1" } }
})

interface Head {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

const ask = (
  outbound: Outbound,
  resource: string,
  request: { readonly method: "GET" } | { readonly method: "POST"; readonly body: string }
): Effect.Effect<Head, DiscoveryError> =>
  outbound.egress.stream(
    {
      ...request,
      url: resource,
      headers: {
        accept: "application/json, text/event-stream",
        ...(request.method === "POST" ? { "content-type": "application/json" } : {})
      }
    },
    { ...egressOptions(resource, outbound.discovery), redirect: "response" }
  ).pipe(
    // The body may be an endless stream of events: the head is enough, and leaving the scope ends the rest.
    Effect.scoped,
    Effect.mapError(resourceFailure)
  )

const answerOf = ({ headers, status }: Head): Effect.Effect<Answer> =>
  status === 401
    ? Effect.map(Effect.promise(() => parseChallenge(headers["www-authenticate"])), (challenge) => ({
      challenge,
      isProtected: true
    }))
    : Effect.succeed({ isProtected: false })

const candidates = (resource: string, named: string | undefined): ReadonlyArray<string> => {
  const { origin, pathname, search } = new URL(resource)
  const path = pathname === "/" ? "" : pathname
  return [
    ...new Set([
      ...(isHttpUrl(named) ? [named] : []),
      `${origin}/.well-known/oauth-protected-resource${path}${search}`,
      `${origin}/.well-known/oauth-protected-resource`
    ])
  ]
}

const resourceFailure = documentFailure("resource_unreachable")
