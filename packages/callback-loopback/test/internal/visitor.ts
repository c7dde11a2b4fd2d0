import { Effect } from "effect"
import { type ClientRequest, request } from "node:http"
import { connect, type Socket } from "node:net"

/** What a visitor was answered. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly body: string
}

/** Requests a URL the way a program without manners does: any method, any header, nothing followed. */
export const visit = (
  url: string | URL,
  options: {
    readonly method?: string
    readonly headers?: Readonly<Record<string, string>>
    readonly onRequest?: (request: ClientRequest) => void
  } = {}
): Effect.Effect<Answer, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    const outgoing = request(
      url,
      { method: options.method ?? "GET", headers: options.headers, agent: false },
      (response) => {
        let body = ""
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => body += chunk)
        response.on("error", (error) => resume(Effect.fail(error)))
        response.on(
          "end",
          () => resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers, body }))
        )
      }
    )
    outgoing.on("error", (error) => resume(Effect.fail(error)))
    outgoing.end()
    options.onRequest?.(outgoing)
    return Effect.sync(() => outgoing.destroy())
  })

/** Sends bytes as they are and returns all that came back until the connection ended. */
export const converse = (port: number, text: string): Effect.Effect<string, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    const socket = connect(port, "127.0.0.1")
    let received = ""
    socket.setEncoding("latin1")
    socket.on("data", (chunk: string) => received += chunk)
    socket.on("error", (error) => resume(Effect.fail(error)))
    socket.on("close", () => resume(Effect.succeed(received)))
    socket.write(text)
    return Effect.sync(() => socket.destroy())
  })

/** Connects without a word; fails with the system's code when nobody listens. */
export const knock = (port: number, host = "127.0.0.1"): Effect.Effect<Socket, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    const socket = connect(port, host)
    socket.once("connect", () => resume(Effect.succeed(socket)))
    socket.on("error", (error) => resume(Effect.fail(error)))
  })
