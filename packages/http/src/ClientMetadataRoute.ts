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
 * Where the client signs, its public key is in the URL, and with it in the client id: another key is another client, the
 * document is the same on every replica, and there is nothing to look up for a stranger.
 *
 * @see OAuth Client ID Metadata Document, §4; RFC 7591 §2; RFC 7517 §5
 */
export const layer = ({ basePath, origin }: ClientMetadataOptions) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    if (origin === undefined) return
    const base = `${origin}${basePath}`
    const serve = (path: `/${string}`, documentOf: (asked: Asked) => object | undefined) =>
      router.add(
        "GET",
        path,
        Effect.map(HttpRouter.params, ({ context = "", key }) => {
          const document = isContext(context) ? documentOf({ base, context, key }) : undefined
          return document === undefined
            ? HttpServerResponse.empty({ status: 404, headers })
            : HttpServerResponse.setHeaders(HttpServerResponse.jsonUnsafe(document), headers)
        })
      )
    yield* serve("/oauth/:context/client-metadata.json", publicClient)
    yield* serve("/oauth/:context/:key/client-metadata.json", keyedClient)
    yield* serve("/oauth/:context/:key/jwks.json", keySet)
  }))

interface Asked {
  readonly base: string
  readonly context: string
  readonly key: string | undefined
}

const isContext = (text: string): boolean => /^[A-Za-z0-9_-]{1,128}$/.test(text)

const publicClient = ({ base, context }: Asked) => ({
  client_id: `${base}/oauth/${context}/client-metadata.json`,
  ...documentOf(base, context),
  token_endpoint_auth_method: "none"
})

const keyedClient = ({ base, context, key }: Asked) => {
  if (coordinates(key) === undefined) return undefined
  const place = `${base}/oauth/${context}/${key}`
  return {
    client_id: `${place}/client-metadata.json`,
    ...documentOf(base, context),
    token_endpoint_auth_method: "private_key_jwt",
    token_endpoint_auth_signing_alg: "ES256",
    jwks_uri: `${place}/jwks.json`
  }
}

const documentOf = (base: string, context: string) => ({
  client_name: "Valetkey",
  client_uri: base,
  application_type: "web",
  redirect_uris: [`${base}/callback/${context}`],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"]
})

/** The key is named as its holder names it: by its thumbprint (RFC 7638 §3.2). */
const keySet = ({ key }: Asked) => {
  const point = coordinates(key)
  if (point === undefined) return undefined
  const jwk = { crv: "P-256", kty: "EC", ...point }
  return { keys: [{ ...jwk, kid: hash("sha256", JSON.stringify(jwk), "base64url"), alg: "ES256", use: "sig" }] }
}

/** The point of a P-256 key (RFC 7518 §6.2.1), as the path writes it. */
const coordinates = (key: string | undefined): { readonly x: string; readonly y: string } | undefined => {
  const [, x, y] = /^([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/.exec(key ?? "") ?? []
  return x === undefined || y === undefined ? undefined : { x, y }
}

const headers: Readonly<Record<string, string>> = {
  "cache-control": "public, max-age=3600",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff"
}
