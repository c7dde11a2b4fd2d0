import { Effect, type Scope } from "effect"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"

/** A server on 127.0.0.1. */
export interface LoopbackServer {
  readonly server: Server
  readonly port: number
  readonly origin: string
}

/** Listens on 127.0.0.1 until the scope closes; open sockets are cut then, so that a hanging reply never holds a test. */
export const listen = (
  listener: RequestListener,
  port = 0
): Effect.Effect<LoopbackServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<LoopbackServer>((resume) => {
      const server = createServer(listener)
      server.once("error", (cause) => resume(Effect.die(cause)))
      server.listen(port, "127.0.0.1", () => {
        const bound = (server.address() as AddressInfo).port
        resume(Effect.succeed({ server, port: bound, origin: `http://127.0.0.1:${bound}` }))
      })
    }),
    ({ server }) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
