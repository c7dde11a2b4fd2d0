import { Context, Effect, Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Routes from "../src/Routes.ts"

/** Answers requests as the listeners would. */
export class Http extends Context.Service<Http, {
  request(request: Request): Effect.Effect<Response>
  /** What the person's browser holds: it goes along with whatever a browser visits. */
  readonly cookies: Map<string, string>
}>()("test/Http") {}

const routed = <E, R>(routes: Layer.Layer<never, E, R>) =>
  Effect.provideService(HttpRouter.toHttpEffect(routes), HttpRouter.RouterConfig, Routes.routerConfig)

/** Layer of `Http` over any routes. */
export const layerHttp = <E, R>(routes: Layer.Layer<never, E, R>) =>
  Layer.effect(
    Http,
    Effect.map(routed(routes), (handler) => ({
      cookies: new Map<string, string>(),
      request: (request: Request) =>
        handler.pipe(
          Effect.map((response) => HttpServerResponse.toWeb(response)),
          Effect.provideService(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
          Effect.scoped,
          Effect.orDie
        ) as Effect.Effect<Response>
    }))
  ).pipe(Layer.provide(HttpServer.layerServices))

/** An answer with its body read. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: { readonly [name: string]: unknown }
}

/** Sends a request. A body that is no string is sent as JSON. */
export const send = Effect.fnUntraced(function*(
  method: string,
  path: string,
  options: {
    readonly token?: string | undefined
    readonly body?: unknown
    readonly headers?: Readonly<Record<string, string>>
  } = {}
) {
  const { cookies, request } = yield* Http
  const visited = /^\/(callback|connect|connections|console|done)(?:[/?]|$)/.test(path)
  const body = options.body === undefined || typeof options.body === "string"
    ? options.body
    : JSON.stringify(options.body)
  const response = yield* request(
    new Request(`http://127.0.0.1:8414${path}`, {
      method,
      headers: {
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(visited ? { cookie: [...cookies].map((pair) => pair.join("=")).join("; ") } : {}),
        ...options.headers
      },
      ...(body === undefined ? {} : { body })
    })
  )
  const text = yield* Effect.promise(() => response.text())
  for (const line of response.headers.getSetCookie()) {
    const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/max-age=0(;|$)/i.test(line)) cookies.delete(name)
    else cookies.set(name, value)
  }
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: /json/.test(response.headers.get("content-type") ?? "") ? JSON.parse(text) : {}
  } as Answer
})
