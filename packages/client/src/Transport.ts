import { Context, Effect, Layer, Redacted } from "effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { Unreachable } from "./ClientError.ts"
import * as LocalSocket from "./LocalSocket.ts"

/** How to reach a server and what to show it. */
export class Transport extends Context.Service<Transport, {
  /** What a person is told was tried. */
  readonly address: string
  readonly baseUrl: string
  readonly http: HttpClient.HttpClient
  /** Read for each request: a local server has a new token each time it starts. */
  readonly credential: Effect.Effect<Redacted.Redacted, Unreachable>
}>()("@valetkey/client/Transport") {
  /** Layer that reaches a server by URL with a bearer token. */
  static readonly layerUrl = (options: {
    readonly url: string
    readonly token: Redacted.Redacted
  }): Layer.Layer<Transport> =>
    Layer.effect(
      Transport,
      Effect.map(HttpClient.HttpClient, (http) =>
        Transport.of({
          address: options.url,
          baseUrl: options.url.replace(/\/+$/, ""),
          http,
          credential: Effect.succeed(options.token)
        }))
    ).pipe(
      Layer.provide(FetchHttpClient.layer),
      // A redirect would carry the token to a place that nobody named.
      Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual" }))
    )

  /** Layer that reaches a server in this very process: a web handler that serves the contract. */
  static readonly layerHandler = (options: {
    readonly handler: (request: Request) => Promise<Response>
    readonly token: Redacted.Redacted
  }): Layer.Layer<Transport> =>
    Layer.effect(
      Transport,
      Effect.map(HttpClient.HttpClient, (http) =>
        Transport.of({
          address: "this process",
          baseUrl: "http://localhost",
          http,
          credential: Effect.succeed(options.token)
        }))
    ).pipe(
      Layer.provide(FetchHttpClient.layer),
      Layer.provide(
        Layer.succeed(FetchHttpClient.Fetch, (input, init) => options.handler(new Request(input, init)))
      )
    )

  /** Layer that reaches the local server over its socket with the token of its present life. */
  static readonly layerSocket = (options: {
    readonly socket: string
    readonly tokenFile: string
  }): Layer.Layer<Transport> =>
    Layer.succeed(
      Transport,
      Transport.of({
        address: options.socket,
        baseUrl: "http://localhost",
        http: overSocket(options.socket),
        credential: Effect.try({
          try: () => {
            LocalSocket.check(options.socket)
            return Redacted.make(LocalSocket.readToken(options.tokenFile))
          },
          catch: (error) => new Unreachable({ address: options.socket, reason: reasonOf(error) ?? "not_running" })
        })
      })
    )
}

/** Why the way to the server failed, or undefined when there was an answer that is no HTTP. */
export const reasonOf = (error: unknown): Unreachable["reason"] | undefined => {
  if (!(error instanceof LocalSocket.LocalSocketError)) {
    const code = (error as { readonly cause?: { readonly code?: unknown } } | undefined)?.cause?.code
    return code === "ECONNREFUSED" || code === "ENOTFOUND" ? "not_running" : "disconnected"
  }
  return error.code === "not_http" ? undefined : error.code
}

const overSocket = (socket: string): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal) =>
    Effect.tryPromise({
      try: () =>
        LocalSocket.request({
          socket,
          method: request.method,
          path: `${url.pathname}${url.search}`,
          headers: request.headers,
          body: bodyOf(request),
          signal
        }),
      catch: (cause) =>
        new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
    }).pipe(Effect.map((response) => HttpClientResponse.fromWeb(request, asWeb(response))))
  )

const bodyOf = (request: HttpClientRequest.HttpClientRequest): Uint8Array | undefined =>
  request.body._tag === "Uint8Array" ? request.body.body : undefined

// What `fromWeb` reads of a `Response`. The real class would load the whole of `fetch`.
const asWeb = ({ body, headers, status }: LocalSocket.LocalResponse): Response =>
  ({
    status,
    url: "",
    headers: new Map(Object.entries(headers)),
    body: null,
    text: () => Promise.resolve(body),
    json: () => Promise.resolve(JSON.parse(body)),
    arrayBuffer: () => Promise.resolve(new TextEncoder().encode(body).buffer)
  }) as unknown as Response
