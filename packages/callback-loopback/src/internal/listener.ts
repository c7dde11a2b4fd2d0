import { Effect } from "effect"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import type { Endpoint } from "./endpoint.ts"

/** What a listener allows of its visitors, whom it does not know. */
export interface ListenerLimits {
  /** Time to send the head of a request. */
  readonly headersTimeoutMillis: number
  readonly maxSockets: number
}

/** The sockets of one endpoint: one server for each address family. */
export interface Listener {
  readonly port: number
  readonly servers: ReadonlyArray<Server>
}

/** Longest request head: a code of 16 kB and what surrounds it (the target's own cap is 32 kB). */
const maxHeaderSize = 48 * 1024

/** Binds every address of an endpoint to one port and answers when it returns; fails with nothing left open. */
export const bind = (
  endpoint: Endpoint,
  limits: ListenerLimits,
  handlerOf: (port: number) => RequestListener
): Effect.Effect<Listener, NodeJS.ErrnoException> =>
  Effect.gen(function*() {
    const [first, ...rest] = endpoint.addresses
    const servers = [yield* listen(first, endpoint.port, limits, handlerOf)]
    const { port } = servers[0]!.address() as AddressInfo
    for (const address of rest) {
      const server = yield* listen(address, port, limits, handlerOf).pipe(
        // A machine without the second family needs no second listener; a port that somebody holds there is no good.
        Effect.catchIf(hasNoAddress, () => Effect.succeed(undefined)),
        Effect.tapError(() => Effect.sync(() => stop({ port, servers })))
      )
      if (server !== undefined) servers.push(server)
    }
    return { port, servers }
  })

/** Stops listening at once and ends idle connections; answers under way may still be written. */
export const stop = ({ servers }: Listener): void => {
  for (const server of servers) {
    server.close()
    server.closeIdleConnections()
  }
}

/** Waits until the last connection of a stopped listener has ended; then, or when interrupted, none is left. */
export const drain = ({ servers }: Listener): Effect.Effect<void> =>
  Effect.forEach(
    servers,
    (server) =>
      Effect.callback<void>((resume) => {
        // A stopped server calls back with an error, once it has closed.
        server.close(() => resume(Effect.void))
      }),
    { discard: true }
  ).pipe(Effect.ensuring(Effect.sync(() => servers.forEach((server) => server.closeAllConnections()))))

/** Whether the machine has no such address at all, as one without IPv4 or without IPv6. */
export const hasNoAddress = ({ code }: NodeJS.ErrnoException): boolean => unavailable.has(code ?? "")

const unavailable = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT", "EPROTONOSUPPORT"])

const listen = (
  host: string,
  port: number,
  { headersTimeoutMillis, maxSockets }: ListenerLimits,
  handlerOf: (port: number) => RequestListener
): Effect.Effect<Server, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    const server = createServer({
      headersTimeout: headersTimeoutMillis,
      requestTimeout: headersTimeoutMillis,
      connectionsCheckingInterval: Math.ceil(headersTimeoutMillis / 5),
      maxHeaderSize
    })
    server.maxConnections = maxSockets
    server.maxRequestsPerSocket = 1
    const failed = (error: NodeJS.ErrnoException) => resume(Effect.fail(error))
    server.once("error", failed)
    server.listen({ host, port, exclusive: true }, () => {
      server.off("error", failed)
      server.on("error", () => undefined)
      server.on("request", handlerOf((server.address() as AddressInfo).port))
      resume(Effect.succeed(server))
    })
  })
