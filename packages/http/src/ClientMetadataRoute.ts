import { ClientDocuments } from "@valetkey/domain/ClientDocuments"
import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { hash } from "node:crypto"

/** How this installation is known to authorization servers. */
export interface ClientMetadataOptions {
  /** Origin of the public URL, from configuration alone, never from a request. Without one there are no documents. */
  readonly origin?: string | undefined
  readonly basePath: string
}

/**
 * Layer of the documents that describe this client to authorization servers, one for each connection context. A document's
 * URL is the client id, byte for byte; it holds the one redirect URI of its context and nothing that is secret. Any context
 * has one, because a document promises nothing: who it is about is decided by the callback.
 *
 * Where the client signs, its public key is in the URL, and with it in the client id: another key is another client, and
 * the document is the same on every replica. Such a URL ends in a tag of this installation, so that nobody has this origin
 * vouch for a key of theirs, and there is nothing to look up for a stranger.
 *
 * @see OAuth Client ID Metadata Document, §4; RFC 7591 §2; RFC 7517 §5
 */
export const layer = ({ basePath, origin }: ClientMetadataOptions) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    if (origin === undefined) return
    const documents = yield* ClientDocuments
    const base = `${origin}${basePath}`

    yield* router.add(
      "GET",
      "/oauth/:context/client-metadata.json",
      Effect.map(
        HttpRouter.params,
        ({ context = "" }) => isContext(context) ? show(publicClient(base, context)) : absent
      )
    )

    const serve = (name: string, documentOf: (keyed: Keyed) => object) =>
      router.add(
        "GET",
        `/oauth/:context/:key/${name}`,
        Effect.gen(function*() {
          const { context = "", key: segment = "" } = yield* HttpRouter.params
          const key = keyOf(segment)
          if (!isContext(context) || key === undefined) return absent
          const place = `${base}/oauth/${context}/${segment}`
          const clientId = `${place}/client-metadata.json`
          const verdict = yield* documents.judge({ context, key: `${key.x}.${key.y}`, tag: key.tag, clientId })
          if (verdict === "undecided") return notNow
          return verdict === "ours" ? show(documentOf({ base, context, place, clientId, ...key })) : absent
        }).pipe(Effect.catch((error) => Effect.as(Effect.logWarning("client document unavailable", error), notNow)))
      )
    yield* serve("client-metadata.json", keyedClient)
    yield* serve("jwks.json", keySet)
  }))

/** A document that names a key, and where it stands. */
interface Keyed {
  readonly base: string
  readonly context: string
  readonly place: string
  readonly clientId: string
  readonly x: string
  readonly y: string
}

const isContext = (text: string): boolean => /^[A-Za-z0-9_-]{1,128}$/.test(text)

const publicClient = (base: string, context: string) => ({
  client_id: `${base}/oauth/${context}/client-metadata.json`,
  ...documentOf(base, context),
  token_endpoint_auth_method: "none"
})

const keyedClient = ({ base, clientId, context, place }: Keyed) => ({
  client_id: clientId,
  ...documentOf(base, context),
  token_endpoint_auth_method: "private_key_jwt",
  token_endpoint_auth_signing_alg: "ES256",
  jwks_uri: `${place}/jwks.json`
})

const documentOf = (base: string, context: string) => ({
  client_name: "Valetkey",
  client_uri: base,
  application_type: "web",
  redirect_uris: [`${base}/callback/${context}`],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"]
})

/** The key is named as its holder names it: by its thumbprint (RFC 7638 §3.2). */
const keySet = ({ x, y }: Keyed) => {
  const jwk = { crv: "P-256", kty: "EC", x, y }
  return { keys: [{ ...jwk, kid: hash("sha256", JSON.stringify(jwk), "base64url"), alg: "ES256", use: "sig" }] }
}

/** The point of a P-256 key (RFC 7518 §6.2.1) and the tag, as the path writes them. */
const keyOf = (segment: string) => {
  const [, x, y, tag] = /^([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})(?:\.([A-Za-z0-9_-]{27}))?$/.exec(segment) ?? []
  return x === undefined || y === undefined ? undefined : { x, y, tag }
}

const headers: Readonly<Record<string, string>> = {
  "cache-control": "public, max-age=3600",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff"
}

const show = (document: object) => HttpServerResponse.setHeaders(HttpServerResponse.jsonUnsafe(document), headers)

const uncached = { ...headers, "cache-control": "no-store" }

// What one replica does not know yet, another does.
const absent = HttpServerResponse.empty({ status: 404, headers: uncached })

const notNow = HttpServerResponse.empty({ status: 503, headers: { ...uncached, "retry-after": "1" } })
