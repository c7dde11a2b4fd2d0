import { Effect, Layer, Option } from "effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { ApiProblem, UnexpectedResponse, Unreachable } from "./ClientError.ts"
import { authorized, unknownPossession } from "./internal/authorized.ts"
import { OriginRefused, type ResourceError, ScopeInsufficient } from "./ResourceError.ts"
import { ValetkeyClient } from "./ValetkeyClient.ts"

/**
 * Makes an `HttpClient` for the resource of one server: every request carries a fresh token, to the origin of the resource
 * alone. A 401 has the token replaced and the request made once more; one whose body is a stream is not repeated, and its
 * 401 is the answer. Redirects are answers. `resourceErrorOf` finds the errors that are not the request's own.
 */
export const make = (server: string): Effect.Effect<
  HttpClient.HttpClient,
  never,
  HttpClient.HttpClient | ValetkeyClient
> =>
  Effect.gen(function*() {
    const valetkey = yield* ValetkeyClient
    const base = yield* HttpClient.HttpClient
    const possession = unknownPossession()
    return HttpClient.makeWith<HttpClientError.HttpClientError, never, HttpClientError.HttpClientError, never>(
      Effect.flatMap((request) => {
        const url = HttpClientRequest.toUrl(request)
        const failed = (cause: ResourceError) =>
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
        return Effect.flatMap(Effect.serviceOption(FetchHttpClient.RequestInit), (init) =>
          authorized(valetkey, {
            server,
            method: request.method,
            possession,
            url: Option.getOrElse(url, () => new URL("data:,")),
            replayable: request.body._tag !== "Stream" && request.body._tag !== "Raw",
            send: (added) =>
              base.execute(HttpClientRequest.setHeaders(request, added)).pipe(
                Effect.provideService(FetchHttpClient.RequestInit, {
                  ...Option.getOrUndefined(init),
                  // A redirect could carry the token elsewhere.
                  redirect: "manual"
                })
              ),
            look: ({ headers, status }) => ({
              status,
              challenge: headers["www-authenticate"],
              nonce: headers["dpop-nonce"]
            }),
            discard: () => Effect.void
          })).pipe(Effect.mapError((error) => HttpClientError.isHttpClientError(error) ? error : failed(error)))
      }),
      Effect.succeed
    )
  })

/** Layer of an `HttpClient` for the resource of one server, over another one. */
export const layer = (server: string): Layer.Layer<
  HttpClient.HttpClient,
  never,
  HttpClient.HttpClient | ValetkeyClient
> => Layer.effect(HttpClient.HttpClient, make(server))

/** The error of the token, the origin or the scopes that an `HttpClientError` carries; none when the request itself failed. */
export const resourceErrorOf = (error: HttpClientError.HttpClientError): ResourceError | undefined => {
  const cause = "cause" in error.reason ? error.reason.cause : undefined
  return cause instanceof ApiProblem || cause instanceof Unreachable || cause instanceof UnexpectedResponse ||
      cause instanceof OriginRefused || cause instanceof ScopeInsufficient
    ? cause
    : undefined
}
