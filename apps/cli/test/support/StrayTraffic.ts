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

/** A connection of a vault that is not as it should be. */
interface Held {
  /** How many callers have asked for its token, the present one included. */
  readonly asked: number
  /** Redeems the refresh token, after those that came before; the access token. */
  readonly refresh: () => Promise<string>
  /** The access token that the nth redemption brought, from 1, when it is there. */
  readonly tokenOf: (redemption: number) => Promise<string>
}

/** A vault with one copy of each connection, whose callers get what `hand` decides. */
const vault = (
  hand: (held: Held) => Promise<string>,
  forget: Reply = [204, ""]
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.suspend(() => {
    interface Row {
      readonly endpoint: string
      refreshToken: string
      asked: number
      readonly turns: Array<Promise<string>>
    }
    const rows = new Map<string, Row>()
    return listen(async (request, body) => {
      const name = request.url?.split("/")[3] ?? ""
      const input = (body === "" ? {} : JSON.parse(body)) as Record<string, string>
      if (request.method === "PUT") {
        const { refreshToken = "", tokenEndpoint: endpoint = "" } = input
        rows.set(name, { endpoint, refreshToken, asked: 0, turns: [] })
        return [201, JSON.stringify({ created: true, connection: { generation: 1 } })]
      }
      const row = rows.get(name)
      if (row === undefined || !request.url?.endsWith("/token")) return forget
      const redeem = async (): Promise<string> => {
        const { endpoint, refreshToken } = row
        const form = { grant_type: "refresh_token", client_id: "doctor-race", refresh_token: refreshToken }
        const answer = JSON.parse((await post(endpoint, new URLSearchParams(form).toString()))[1]) as Record<
          string,
          string
        >
        row.refreshToken = answer["refresh_token"] ?? ""
        return answer["access_token"] ?? ""
      }
      const accessToken = await hand({
        asked: ++row.asked,
        refresh: () => {
          const turn = (row.turns.at(-1) ?? Promise.resolve("")).then(redeem)
          row.turns.push(turn)
          return turn
        },
        tokenOf: (redemption) => row.turns[redemption - 1] ?? Promise.reject(new Error("no such redemption"))
      })
      const tokens = await Promise.all(row.turns)
      return [200, JSON.stringify({ accessToken, tokenType: "Bearer", generation: 2 + tokens.indexOf(accessToken) })]
    })
  })

/** A vault that refreshes for every caller, one after the other, and forgets nothing. */
export const forgetful = vault(({ refresh }) => refresh(), [500, "{}"])

/** A vault that refreshes for every other caller, and gives the rest what the redemption before brought. */
export const stale = vault(({ asked, refresh, tokenOf }) =>
  asked % 2 === 1 ? refresh() : tokenOf(Math.max(1, asked / 2 - 1))
)

/** A vault that refreshes once and is content with that. */
export const idle = vault(({ asked, refresh, tokenOf }) => asked === 1 ? refresh() : tokenOf(1))

/** A vault that does what it should, but forgets nothing. */
export const littering = vault(
  ({ asked, refresh, tokenOf }) => asked % 2 === 1 ? refresh() : tokenOf(asked / 2),
  [500, "{}"]
)
