import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { maxSocketPath } from "@valetkey/client/Home"
import * as HotToken from "@valetkey/http/HotToken"
import { Context, Effect, Layer, Schema } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { chmodSync, lstatSync, unlinkSync } from "node:fs"
import { createServer, type Server } from "node:http"
import { Draining } from "./Draining.ts"
import type { ListenAddress } from "./Settings.ts"

/** Error of a listener that cannot be opened. */
export class ListenError extends Schema.TaggedError<ListenError>("valetkey/server/ListenError")("ListenError", {
  code: Schema.Literals(["address_unavailable", "socket_path_too_long", "socket_path_taken"]),
  address: Schema.String
}) {
  override get message() {
    switch (this.code) {
      case "address_unavailable":
        return `${this.address} cannot be listened on: another process holds it, or the address is not of this machine; free it or choose another`
      case "socket_path_too_long":
        return `${this.address} is longer than a socket path may be (${maxSocketPath} bytes); set VALETKEY_HOME to a shorter path`
      case "socket_path_taken":
        return `${this.address} is there and is not a socket of ours; move it away`
    }
  }
}

/** One socket and what it serves. */
export interface Listener<R> {
  readonly address: ListenAddress | { readonly path: string }
  readonly routes: Layer.Layer<never, never, R>
  /** The short way to a stored token, on listeners that serve the API. */
  readonly hot?: HotToken.HotToken | undefined
}

/** How long a drain waits for responses under way. */
const graceful = "20 seconds"

/** Opens the listener for the life of the scope and returns where it can be reached: a URL, or the socket's path. */
export const open = Effect.fnUntraced(function*<R>(listener: Listener<R>) {
  const { address } = listener
  if ("path" in address) yield* replaceStaleSocket(address.path)
  const context = yield* Layer.build(
    HttpRouter.serve(Layer.mergeAll(layerLeaving, listener.routes), {
      disableLogger: true,
      disableListenLog: true
    }).pipe(
      Layer.provideMerge(NodeHttpServer.layerServer(() => make(listener.hot), {
        ...("path" in address ? { path: address.path } : { host: address.host, port: address.port }),
        gracefulShutdownTimeout: graceful
      })),
      Layer.provide(HttpServer.layerServices)
    )
  ).pipe(
    Effect.catchTag(
      "ServeError",
      () => Effect.fail(new ListenError({ code: "address_unavailable", address: textOf(address) }))
    )
  )
  // The directory is closed to others, so nobody gets in before.
  if ("path" in address) chmodSync(address.path, 0o600)
  return reachable(context, address)
})

/** Limits of every listener: slow, large or numerous requests end early. */
const make = (hot: HotToken.HotToken | undefined): Server => {
  const server = createServer({
    headersTimeout: 10_000,
    requestTimeout: 30_000,
    keepAliveTimeout: 60_000,
    maxHeaderSize: 16 * 1024
  })
  server.maxConnections = 10_000
  if (hot !== undefined) HotToken.attach(server, hot)
  closeAsTheyFallIdle(server)
  return server
}

/** Node.js closes what is idle when a close begins; a connection that answers its last request later would stay open. */
const closeAsTheyFallIdle = (server: Server): void => {
  const close = server.close.bind(server)
  server.close = (done) => {
    const sweep = setInterval(() => server.closeIdleConnections(), 50)
    return close((error) => {
      clearInterval(sweep)
      done?.(error)
    })
  }
}

/** Ends long polls when the drain begins: whoever waits asks another replica. Everything else is answered in full. */
const layerLeaving = HttpRouter.middleware(
  Effect.gen(function*() {
    const draining = yield* Draining
    return (app) =>
      Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        (request) =>
          request.method === "GET" && request.url.includes("wait=")
            ? Effect.raceFirst(app, Effect.as(draining.wait, leaving))
            : app
      )
  }),
  { global: true }
)

const leaving = HttpServerResponse.jsonUnsafe({
  type: "https://valetkey.dev/problems/draining",
  title: "Service Unavailable",
  status: 503,
  code: "draining",
  detail: "This server is shutting down; ask again",
  retryAfterSeconds: 1
}, {
  status: 503,
  contentType: "application/problem+json",
  headers: { "retry-after": "1", "cache-control": "no-store" }
})

/** The store's lock is held when this runs, so a socket that is still there belongs to a process that died. */
const replaceStaleSocket = (path: string) =>
  Effect.suspend(() => {
    if (Buffer.byteLength(path) > maxSocketPath) {
      return Effect.fail(new ListenError({ code: "socket_path_too_long", address: path }))
    }
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found === undefined) return Effect.void
    if (!found.isSocket()) return Effect.fail(new ListenError({ code: "socket_path_taken", address: path }))
    return Effect.sync(() => unlinkSync(path))
  })

const textOf = (address: Listener<never>["address"]): string =>
  "path" in address
    ? address.path
    : `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`

const reachable = (context: Context.Context<HttpServer.HttpServer>, address: Listener<never>["address"]): string => {
  if ("path" in address) return address.path
  const bound = Context.get(context, HttpServer.HttpServer).address
  return `http://${textOf({ host: address.host, port: "port" in bound ? bound.port : address.port })}`
}
