import { Effect, Fiber } from "effect"
import { revisionOf } from "./internal/routing.ts"
import {
  type Id,
  isAnswer,
  isRequest,
  member,
  type Message,
  nameOf,
  parse,
  type Request,
  type RpcError
} from "./internal/rpc.ts"
import * as Session from "./internal/session.ts"
import { RelayFailure } from "./RelayFailure.ts"

export type { RpcError }

/** A client on one side and a server on the other. */
export interface RelayOptions {
  /** The MCP endpoint. */
  readonly url: URL
  /** Makes the requests that somebody waits for; it may lead a person to a consent meanwhile. */
  readonly fetch: typeof fetch
  /** Makes those that nobody waits for; it asks nobody. */
  readonly background: typeof fetch
  /** What the client writes, line by line, until it ends. */
  readonly lines: AsyncIterable<string>
  /** Writes a line to the client and returns when there is room for another. */
  write(line: string): Effect.Effect<void>
  /** Takes a line for the log. */
  say(text: string): Effect.Effect<void>
  /** What the client is told when `fetch` rejects with something that is not its own. */
  explain(error: unknown): RpcError
}

/** The code of errors that are not the server's: the first of those that JSON-RPC leaves to implementations. */
export const relayErrorCode = -32000

interface Pending {
  readonly request: Request
  readonly fiber: Fiber.Fiber<void>
}

/**
 * Passes messages between a client that speaks JSON-RPC in lines and a server that speaks streamable HTTP, until the client
 * ends. Every request gets one answer: the server's, or an error that says what became of it. A session that the server lost
 * is begun anew, a stream that broke is resumed where it can be, and a server that is away for a moment is waited for.
 *
 * @see MCP 2025-11-25, "Transports", and 2026-07-28, "Streamable HTTP"
 */
export const run = (options: RelayOptions): Effect.Effect<void> =>
  Effect.scoped(Effect.gen(function*() {
    const { explain, lines, say } = options
    const scope = yield* Effect.scope
    const write = (message: Message) => options.write(JSON.stringify(message))
    const session = yield* Session.make({ ...options, tell: write })
    const pending = new Map<string, Pending>()

    const errorOf = (error: unknown): RpcError => {
      if (error instanceof Session.Refused) {
        return error.error ?? ofFailure(new RelayFailure({ code: "resource_response_refused", status: error.status }))
      }
      return error instanceof RelayFailure ? ofFailure(error) : explain(error)
    }

    const answer = (request: Request) =>
      session.ask(request).pipe(
        Effect.catch((error) => Effect.succeed<Message>({ jsonrpc: "2.0", error: errorOf(error) })),
        Effect.flatMap((message) => write({ ...message, id: request.id })),
        Effect.ensuring(Effect.sync(() => pending.delete(nameOf(request.id))))
      )

    const refuse = (id: Id | null, error: RpcError) => write({ jsonrpc: "2.0", id, error })

    const ask = (request: Request) =>
      Effect.gen(function*() {
        if (pending.has(nameOf(request.id))) {
          return yield* refuse(request.id, ofFailure(new RelayFailure({ code: "request_id_in_use" })))
        }
        if (pending.size >= most) {
          return yield* refuse(request.id, ofFailure(new RelayFailure({ code: "too_many_requests" })))
        }
        // It has begun before the next message is read, so that they leave in their order.
        const fiber = yield* Effect.forkIn(answer(request), scope, { startImmediately: true })
        if (fiber.pollUnsafe() === undefined) pending.set(nameOf(request.id), { request, fiber })
      })

    /** Nobody waits for the answer any more. The revisions without sessions are told so by the end of the request. */
    const cancel = (message: Message) =>
      Effect.gen(function*() {
        const found = pending.get(nameOf(member(message.params, "requestId")))
        if (found === undefined || revisionOf(found.request) === undefined) yield* send(message)
        if (found !== undefined) yield* Fiber.interrupt(found.fiber)
      })

    /** What follows may depend on it: it leaves when this has arrived, but waits for no server that does not say so. */
    const send = (message: Message) =>
      Effect.gen(function*() {
        const sending = yield* Effect.forkIn(
          session.send(message).pipe(
            Effect.catch((error) => say(`A message to the MCP server was lost: ${errorOf(error).message}`))
          ),
          scope,
          { startImmediately: true }
        )
        yield* Effect.timeoutOption(Fiber.await(sending), "10 seconds")
      })

    const pass = (message: Message) => {
      if (isRequest(message)) return ask(message)
      return message.method === "notifications/cancelled" ?
        cancel(message) :
        isAnswer(message) || message.id === undefined
        ? send(message)
        : refuse(null, invalid)
    }

    const input = lines[Symbol.asyncIterator]()
    while (true) {
      const { done, value } = yield* Effect.promise(() => input.next())
      if (done === true) break
      if (value.trim() === "") continue
      const messages = parse(value)
      if (messages === undefined) yield* refuse(null, invalid)
      else yield* Effect.forEach(messages, pass, { discard: true })
    }
    // Whoever wrote requests and ended waits for the answers, unless one never comes.
    yield* Effect.timeoutOption(Fiber.awaitAll([...pending.values()].map(({ fiber }) => fiber)), "30 seconds")
  }))

/** The answer to a line of a client whose server is out of the question. */
export const refusal = (line: string, error: RpcError): string => {
  const request = parse(line)?.find(isRequest)
  return JSON.stringify({ jsonrpc: "2.0", id: request?.id ?? null, error })
}

/** More requests than any client has open at once. */
const most = 1000

const ofFailure = ({ code, message, status }: RelayFailure): RpcError => ({
  code: relayErrorCode,
  message,
  data: { code, ...(status === undefined ? {} : { status }) }
})

const invalid: RpcError = { code: -32700, message: "The line is no JSON-RPC 2.0 message" }
