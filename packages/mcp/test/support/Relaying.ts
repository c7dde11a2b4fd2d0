import * as LoopbackServer from "@valetkey/testing/LoopbackServer"
import { Deferred, Effect, Fiber, Queue, type Scope } from "effect"
import type { IncomingHttpHeaders, ServerResponse } from "node:http"
import * as Relay from "../../src/Relay.ts"

interface Message {
  readonly jsonrpc?: string
  readonly id?: unknown
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: unknown
  readonly error?: { readonly code?: number; readonly message?: string; readonly data?: unknown }
  readonly extra?: unknown
}

interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** The message; empty where there is none. */
  readonly message: Message
  /** Resolves when the other side went away. */
  readonly closed: Promise<void>
}

/** An MCP endpoint that answers as a test wants, and what it was asked. */
export const endpoint = (answer: (seen: Seen, response: ServerResponse) => void) =>
  Effect.gen(function*() {
    const seen: Array<Seen> = []
    const { origin } = yield* LoopbackServer.listen((request, response) => {
      let body = ""
      request.on("data", (chunk) => body += String(chunk))
      request.on("end", () => {
        const one: Seen = {
          method: String(request.method),
          path: String(request.url),
          headers: request.headers,
          message: body === "" ? {} : JSON.parse(body) as Message,
          closed: new Promise((resolve) => response.once("close", () => resolve()))
        }
        seen.push(one)
        answer(one, response)
      })
    })
    return {
      url: new URL("/mcp", origin),
      seen,
      methods: () => seen.map(({ message, method }) => message.method ?? method)
    }
  })

export const json = (response: ServerResponse, body: unknown, headers: Record<string, string> = {}) =>
  void response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))

export const stream = (response: ServerResponse, ...events: ReadonlyArray<string>) => {
  response.writeHead(200, { "content-type": "text/event-stream" })
  for (const event of events) response.write(`${event}\n\n`)
  return response
}

export const event = (message: unknown) => `data: ${JSON.stringify(message)}`

export const result = (id: unknown, value: unknown = {}) => ({ jsonrpc: "2.0", id, result: value })

export const began = {
  protocolVersion: "2025-06-18",
  capabilities: { tools: { listChanged: true } },
  serverInfo: { name: "s" }
}

/** A client that writes messages and takes what comes back, one by one. */
export const client = (
  url: URL,
  { via = fetch, write }: { readonly via?: typeof fetch; readonly write?: (line: string) => Effect.Effect<void> } = {}
) =>
  Effect.gen(function*() {
    const input = yield* Queue.unbounded<string>()
    const output = yield* Queue.unbounded<Message>()
    const end = yield* Deferred.make<void>()
    async function* lines() {
      while (true) {
        const next = await Effect.runPromise(
          Effect.raceFirst(Queue.take(input), Effect.as(Deferred.await(end), undefined))
        )
        if (next === undefined) return
        yield next
      }
    }
    const running = yield* Effect.forkScoped(Relay.run({
      url,
      fetch: via,
      background: via,
      lines: lines(),
      write: write ?? ((line) => Effect.asVoid(Queue.offer(output, JSON.parse(line) as Message))),
      say: () => Effect.void,
      explain: (error) => ({ code: -32603, message: String(error) })
    }))
    const say = (message: object) => Queue.offer(input, JSON.stringify({ jsonrpc: "2.0", ...message }))
    return {
      say,
      line: (text: string) => Queue.offer(input, text),
      hear: Queue.take(output),
      end: Effect.andThen(Deferred.succeed(end, undefined), Fiber.join(running)),
      begin: Effect.gen(function*() {
        yield* say({ id: 0, method: "initialize", params: { protocolVersion: began.protocolVersion } })
        const answer = yield* Queue.take(output)
        yield* say({ method: "notifications/initialized" })
        return answer
      })
    }
  })

export const scoped = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.scoped(effect)

/** Answers the beginning of a session, and what is left to the test. */
export const withSessions = (
  others: (seen: Seen, response: ServerResponse, session: number) => void,
  next: (session: number) => typeof began = () => began
) => {
  let session = 0
  return endpoint((seen, response) => {
    const { message, method } = seen
    if (method !== "POST") return void response.writeHead(405).end()
    if (message.method === "initialize") {
      session++
      return json(response, result(message.id, next(session)), { "mcp-session-id": `session-${session}` })
    }
    if (message.method === "notifications/initialized") return void response.writeHead(202).end()
    return others(seen, response, session)
  })
}
