import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

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
 * @see OAuth Client ID Metadata Document, §4; RFC 7591 §2
 */
export const layer = ({ basePath, origin }: ClientMetadataOptions) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    if (origin === undefined) return
    const base = `${origin}${basePath}`
    yield* router.add(
      "GET",
      "/oauth/:context/client-metadata.json",
      Effect.map(HttpRouter.params, ({ context = "" }) =>
        isContext(context)
          ? HttpServerResponse.setHeaders(HttpServerResponse.jsonUnsafe(documentOf(base, context)), headers)
          : HttpServerResponse.empty({ status: 404, headers }))
    )
  }))

const isContext = (text: string): boolean => /^[A-Za-z0-9_-]{1,128}$/.test(text)

const documentOf = (base: string, context: string) => ({
  client_id: `${base}/oauth/${context}/client-metadata.json`,
  client_name: "Valetkey",
  client_uri: base,
  application_type: "web",
  redirect_uris: [`${base}/callback/${context}`],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: "none"
})

const headers: Readonly<Record<string, string>> = {
  "cache-control": "public, max-age=3600",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff"
}
