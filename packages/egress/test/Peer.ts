import { Effect, Latch, type Scope } from "effect"
import { type AddressInfo, createServer, type Socket } from "node:net"

/** A raw TCP server on 127.0.0.1 that a test scripts byte by byte. */
export interface Peer {
  readonly port: number
  readonly url: string
  /** How many connections were accepted. */
  readonly connections: () => number
  /** Everything that was received, of all connections. */
  readonly received: () => string
  /** Opens when a whole request head has arrived. */
  readonly requested: Effect.Effect<void>
  /** Opens when the other side has closed a connection. */
  readonly closed: Effect.Effect<void>
}

/** Opens a peer for the scope; `answer` runs once for every request whose head has arrived. */
export const open = (
  answer: (socket: Socket, request: number) => void = () => undefined
): Effect.Effect<Peer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requested = yield* Latch.make()
    const closed = yield* Latch.make()
    const sockets = new Set<Socket>()
    let connections = 0
    let requests = 0
    let received = ""
    const server = createServer((socket) => {
      connections++
      sockets.add(socket)
      socket.setEncoding("latin1")
      let pending = ""
      socket.on("error", () => undefined)
      socket.on("close", () => {
        sockets.delete(socket)
        closed.openUnsafe()
      })
      socket.on("data", (text: string) => {
        received += text
        pending += text
        for (let end = pending.indexOf("\r\n\r\n"); end >= 0; end = pending.indexOf("\r\n\r\n")) {
          pending = pending.slice(end + 4)
          requested.openUnsafe()
          answer(socket, ++requests)
        }
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          sockets.forEach((socket) => socket.destroy())
          server.close(() => resume(Effect.void))
        })
    )
    const { port } = server.address() as AddressInfo
    return {
      port,
      url: `http://127.0.0.1:${port}`,
      connections: () => connections,
      received: () => received,
      requested: requested.await,
      closed: closed.await
    }
  })

/** A complete response with a length. */
export const response = (body: string, head = "HTTP/1.1 200 OK"): string =>
  `${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

/** A port of this machine on which nobody listens. */
export const closedPort: Effect.Effect<number> = Effect.scoped(Effect.map(open(), ({ port }) => port))
