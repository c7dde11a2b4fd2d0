import { Effect, Layer, Tracer } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as UrlParams from "effect/http/UrlParams"

/** Query parameters whose values no span and no log line may hold. */
export const redactedParameters: ReadonlyArray<string> = [
  "access_token",
  "assertion",
  "client_assertion",
  "client_secret",
  "code",
  "code_challenge",
  "code_verifier",
  "device_code",
  "error_description",
  "id_token",
  "iss",
  "login_hint",
  "nonce",
  "password",
  "refresh_token",
  "request",
  "response",
  "session_state",
  "state",
  "subject_token",
  "ticket",
  "token",
  "user_code"
]

/** Headers whose values no span and no log line may hold. */
export const redactedHeaders: ReadonlyArray<string | RegExp> = [
  "authorization",
  "cookie",
  "dpop",
  "location",
  "proxy-authorization",
  "referer",
  "set-cookie",
  "set-cookie2",
  "www-authenticate",
  "x-api-key",
  /^x-valetkey-/
]

/** Attributes that a span of HTTP may have besides those that are no HTTP's: nothing that a caller chose freely. */
const httpAttributes = new Set([
  "http.request.method",
  "http.route",
  "http.response.status_code",
  "http.request.header.content-type",
  "http.request.header.content-length",
  "http.response.header.content-type",
  "http.response.header.content-length",
  "url.scheme",
  "server.address",
  "server.port"
])

/** The tracer with spans that never see what they may not hold: queries, whole URLs, headers beyond two, peers. */
export const tame = (tracer: Tracer.Tracer): Tracer.Tracer =>
  Tracer.make({
    span: (options) => {
      const span = tracer.span(options)
      const attribute = span.attribute.bind(span)
      span.attribute = (key, value) => {
        if (!/^(http|url|server|client|network|user_agent)\./.test(key) || httpAttributes.has(key)) {
          attribute(key, value)
        }
      }
      return span
    },
    ...(tracer.context === undefined ? {} : { context: tracer.context })
  })

/** Layer that tames the tracer below it. */
export const layerTracer: Layer.Layer<never> = Layer.effect(Tracer.Tracer)(Effect.map(Tracer.Tracer, tame))

/**
 * Whether a browser visits the path: its segments hold what only that browser may know. Read as the router does, and more
 * widely: percent-decoded, with slashes doubled, below the path of a public URL that a proxy did not strip.
 */
const isBrowsers = (url: string): boolean => {
  const [path = ""] = url.split("?", 1)
  return !path.startsWith("/v1/") && /(^|\/)(callback|connect|connections|console|done)(\/|$)/.test(decoded(path))
}

const decoded = (path: string): string => {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/**
 * Layer that keeps secrets out of what the HTTP modules record: no span for what a browser visits, redacted names
 * elsewhere, and no trace context to third parties. Provide it around the server.
 */
export const layer: Layer.Layer<never> = Layer.mergeAll(
  Layer.succeed(HttpMiddleware.TracerDisabledWhen)((request) => isBrowsers(request.url)),
  Layer.succeed(HttpClient.TracerPropagationEnabled)(false),
  Layer.succeed(Headers.CurrentRedactedNames)(redactedHeaders),
  Layer.succeed(UrlParams.CurrentRedactedNames)(redactedParameters)
)
