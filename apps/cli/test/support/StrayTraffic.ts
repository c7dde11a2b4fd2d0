import { Effect, type Scope } from "effect"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"

/** What a peer answers: a status and a body of JSON. */
export type Reply = readonly [status: number, body: string]

/** Listens on 127.0.0.1 until the scope closes; the origin. */
export const listen = (
  answer: (request: IncomingMessage, body: string) => Promise<Reply>
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => body += String(chunk))
        request.on("end", () => {
          answer(request, body).then(
            ([status, text]) => response.writeHead(status, { "content-type": "application/json" }).end(text),
            () => response.destroy()
          )
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`))

/** Posts a form. */
const post = async (url: string, body: string): Promise<Reply> => {
  const headers = { "content-type": "application/x-www-form-urlencoded" }
  const response = await fetch(url, { method: "POST", headers, body })
  return [response.status, await response.text()]
}

/** A mesh that repeats what it carries: each request goes to the target twice, and the first answer comes back. */
export const repeating = (target: string): Effect.Effect<string, never, Scope.Scope> =>
  listen(async (request, body) => {
    const first = await post(`${target}${request.url}`, body)
    await post(`${target}${request.url}`, body)
    return first
  })

/** A vault with one copy of each connection that refreshes for every caller, one after the other, and forgets nothing. */
export const forgetful: Effect.Effect<string, never, Scope.Scope> = Effect.suspend(() => {
  const vault = new Map<string, { readonly endpoint: string; refreshToken: string; turn: Promise<unknown> }>()
  let generation = 1
  return listen(async (request, body) => {
    const name = request.url?.split("/")[3] ?? ""
    const input = (body === "" ? {} : JSON.parse(body)) as Record<string, string>
    if (request.method === "PUT") {
      const { refreshToken = "", tokenEndpoint: endpoint = "" } = input
      vault.set(name, { endpoint, refreshToken, turn: Promise.resolve() })
      return [201, JSON.stringify({ created: true, connection: { generation } })]
    }
    const held = vault.get(name)
    if (held === undefined || !request.url?.endsWith("/token")) return [500, "{}"]
    const mine = held.turn.then(async () => {
      const form = new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "doctor-race",
        refresh_token: held.refreshToken
      })
      const answer = JSON.parse((await post(held.endpoint, form.toString()))[1]) as Record<string, string>
      held.refreshToken = answer["refresh_token"] ?? ""
      return { accessToken: answer["access_token"], tokenType: "Bearer", generation: ++generation }
    })
    held.turn = mine
    return [200, JSON.stringify(await mine)]
  })
})
