import { Effect, type Scope } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { Installation } from "./Valetkey.ts"

/** What a stub does with a request; undefined cuts the connection. */
export type Answer = (
  request: IncomingMessage,
  body: string
) => { readonly status?: number; readonly type?: string; readonly body: unknown } | undefined

/** A server of ours that misbehaves on purpose, behind the socket of an installation. */
export interface StubServer {
  /** `METHOD path` of every request so far. */
  readonly requests: ReadonlyArray<string>
}

/** Listens on the socket of the installation in place of its server. */
export const make = (
  valetkey: Installation,
  answer: Answer,
  version?: string
): Effect.Effect<StubServer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requests: Array<string> = []
    mkdirSync(valetkey.home.run, { recursive: true, mode: 0o700 })
    writeFileSync(valetkey.home.token, "stub\n", { mode: 0o600 })
    const server = createServer((request, response) => {
      if (version !== undefined) response.setHeader("valetkey-version", version)
      respond(request, response, answer, requests)
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(valetkey.home.socket, () => resume(Effect.void))
      }),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    return { requests }
  })

const respond = (
  request: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
  requests: Array<string>
): void => {
  let body = ""
  request.on("data", (chunk) => body += String(chunk))
  request.on("end", () => {
    if (request.url !== "/livez") requests.push(`${request.method} ${request.url}`)
    const reply = request.url === "/livez" ? { body: { live: true } } : answer(request, body)
    if (reply === undefined) return void request.socket.destroy()
    response.writeHead(reply.status ?? 200, { "content-type": reply.type ?? "application/json" })
    response.end(typeof reply.body === "string" ? reply.body : JSON.stringify(reply.body))
  })
}
