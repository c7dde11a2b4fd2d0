import { maxSocketPath, versionHeader } from "@valetkey/client/Home"
import { Effect, Exit, Schema, Scope } from "effect"
import { chmodSync, lstatSync, unlinkSync } from "node:fs"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import * as Departure from "./Departure.ts"
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

/** Takes one request of a listener and answers it. */
export type Application = (request: IncomingMessage, response: ServerResponse) => void

/** One socket and what it serves. */
export interface Listener<R> {
  readonly address: ListenAddress | { readonly path: string }
  /** Loaded behind the open socket, for the life of the scope; requests wait for it. */
  readonly application: Effect.Effect<Application, never, R>
  /** Says that the process lives before the application is loaded. Only where no browser can reach. */
  readonly liveAtOnce?: boolean | undefined
  /** Said in every answer: the commands of this user may be of another version. Only where nobody else can reach. */
  readonly version?: string | undefined
  /** Whether the body of a request to a URL may take as long as it moves. Others have 30 seconds for all of it. */
  readonly streams?: ((url: string) => boolean) | undefined
  /** How long a body may take, in milliseconds. */
  readonly bodyPatience?: number | undefined
  /** When it completes the listener stops accepting, before its scope closes: listeners leave together. */
  readonly leaving?: Effect.Effect<void> | undefined
}

/** An open socket. */
export interface Opened {
  /** Where it can be reached: a URL, or the socket's path. */
  readonly reachable: string
  /** Completes when the application is there. Nobody needs to run it: the first request does. */
  readonly loaded: Effect.Effect<void>
}

/** How long a drain waits for responses under way. */
const graceful = "20 seconds"

/** Opens the listener for the life of the scope. Closing it stops accepting, then waits for what is under way. */
export const open = Effect.fnUntraced(function*<R>(listener: Listener<R>) {
  const { address } = listener
  if ("path" in address) yield* replaceStaleSocket(address.path)
  const context = yield* Effect.context<R>()
  const scope = yield* Effect.scope
  const server = makeServer()
  const departure = Departure.make(server)
  yield* Effect.addFinalizer(() => Effect.andThen(departure.cut, departure.done))
  // Between the two finalizers: what is still answered after the grace is interrupted.
  const application = yield* Effect.cached(
    listener.application.pipe(Scope.provide(yield* Scope.fork(scope)), Effect.provideContext(context))
  )
  yield* Effect.addFinalizer(() => Effect.andThen(departure.begin, Effect.timeoutOption(departure.done, graceful)))
  if (listener.leaving !== undefined) yield* Effect.forkScoped(Effect.andThen(listener.leaving, departure.begin))

  let answer: Application | undefined
  const loaded = Effect.map(application, (ready) => {
    answer = ready
  })
  const load = Effect.runForkWith(context)
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    if (listener.version !== undefined) response.setHeader(versionHeader, listener.version)
    if (listener.streams?.(request.url ?? "") !== true) limitBody(request, listener.bodyPatience ?? 30_000)
    if (answer !== undefined) return answer(request, response)
    if (listener.liveAtOnce === true && request.method === "GET" && request.url === "/livez") return live(response)
    load(loaded).addObserver((exit) => Exit.isSuccess(exit) ? answer?.(request, response) : response.destroy())
  })
  yield* Effect.callback<void, ListenError>((resume) => {
    server.once(
      "error",
      () => resume(Effect.fail(new ListenError({ code: "address_unavailable", address: textOf(address) })))
    )
    server.listen("path" in address ? { path: address.path } : { host: address.host, port: address.port }, () => {
      server.removeAllListeners("error")
      resume(Effect.void)
    })
  })
  // The directory is closed to others, so nobody gets in before.
  if ("path" in address) chmodSync(address.path, 0o600)
  return { reachable: reachable(server, address), loaded } satisfies Opened
})

/** Limits of every listener: slow, large or numerous requests end early. */
const makeServer = (): Server => {
  const server = createServer({
    headersTimeout: 10_000,
    // It would hold for an upload that streams, too: bodies are limited one by one.
    requestTimeout: 0,
    keepAliveTimeout: 60_000,
    // A code of 16 kB comes in the request line, and a browser adds its cookies.
    maxHeaderSize: 48 * 1024
  })
  server.maxConnections = 10_000
  return server
}

/** Ends the connection of a body that does not come to its end in time. */
const limitBody = (request: IncomingMessage, patience: number): void => {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers
  if (encoding === undefined && (length === undefined || length === "0")) return
  const timer = setTimeout(() => request.destroy(), patience)
  const clear = () => clearTimeout(timer)
  request.once("end", clear).once("close", clear)
}

/** What the contract answers too, which a test holds together. */
const live = (response: ServerResponse): void => {
  response.writeHead(200, {
    "cache-control": "no-store",
    "content-type": "application/json",
    "x-content-type-options": "nosniff"
  })
  response.end("{\"live\":true}")
}

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

const reachable = (server: Server, address: Listener<never>["address"]): string => {
  if ("path" in address) return address.path
  const bound = server.address()
  return `http://${
    textOf({ host: address.host, port: typeof bound === "object" && bound !== null ? bound.port : address.port })
  }`
}
