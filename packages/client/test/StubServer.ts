import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** What arrived. */
export interface Arrived {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly body: string
}

/** A server on a socket and on a port, with the files of a local server beside it. */
export interface StubServer {
  readonly directory: string
  readonly socket: string
  readonly tokenFile: string
  readonly url: string
  readonly arrived: ReadonlyArray<Arrived>
}

/** Serves until the scope closes. */
export const make = (
  answer: (request: Arrived, response: ServerResponse) => void
): Effect.Effect<StubServer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vkc-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const arrived: Array<Arrived> = []
    const handler = (request: IncomingMessage, response: ServerResponse) => {
      let body = ""
      request.on("data", (chunk) => body += String(chunk))
      request.on("end", () => {
        const one = {
          method: request.method ?? "",
          url: request.url ?? "",
          authorization: request.headers.authorization,
          body
        }
        arrived.push(one)
        answer(one, response)
      })
    }
    const listen = (address: { readonly path: string } | { readonly host: string; readonly port: number }) =>
      Effect.acquireRelease(
        Effect.callback<ReturnType<typeof createServer>>((resume) => {
          const server = createServer(handler)
          server.listen(address, () => resume(Effect.succeed(server)))
        }),
        (server) =>
          Effect.callback<void>((resume) => {
            server.close(() => resume(Effect.void))
            server.closeAllConnections()
          })
      )
    const socket = join(directory, "server.sock")
    const tokenFile = join(directory, "token")
    writeFileSync(tokenFile, "boot-token\n", { mode: 0o600 })
    yield* listen({ path: socket })
    const tcp = yield* listen({ host: "127.0.0.1", port: 0 })
    return { directory, socket, tokenFile, url: `http://127.0.0.1:${(tcp.address() as AddressInfo).port}`, arrived }
  })

/** Answers with JSON. */
export const json = (response: ServerResponse, status: number, body: unknown, type = "application/json"): void => {
  response.writeHead(status, { "content-type": type })
  response.end(JSON.stringify(body))
}
