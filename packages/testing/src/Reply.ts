import { type Duration, Effect } from "effect"
import type { ServerResponse } from "node:http"
import { gzipSync } from "node:zlib"

/** An answer before it is written: what the honest server says, or what a script makes of it. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array
}

/** One request at the fake provider as a reply sees it. */
export interface Exchange {
  /** Lets the honest server act, once, however often it is called: state changes happen here. */
  readonly process: () => Answer
  /** Writes an answer whole. */
  readonly send: (answer: Answer) => Effect.Effect<void>
  readonly response: ServerResponse
  /** Parameters of the request's form; none when it has no form. */
  readonly form: URLSearchParams
  /** The address that the request came from. */
  readonly from: string
}

/** What the fake provider does with one request. */
export type Reply = (exchange: Exchange) => Effect.Effect<void>

/** Acts and answers as an honest server. */
export const normal: Reply = ({ process, send }) => Effect.suspend(() => send(process()))

/** Waits for the gate, then replies: nothing has been processed while it waits. A latency is a gate that sleeps. */
export const before = (gate: Effect.Effect<unknown>, reply: Reply = normal): Reply => (exchange) =>
  Effect.andThen(gate, Effect.suspend(() => reply(exchange)))

/** Processes the request, then waits for the gate, then replies. */
export const after = (gate: Effect.Effect<unknown>, reply: Reply = normal): Reply => (exchange) =>
  Effect.suspend(() => {
    exchange.process()
    return Effect.andThen(gate, Effect.suspend(() => reply(exchange)))
  })

/** Never processes and never answers. */
export const hang: Reply = before(Effect.never)

/** Processes and never answers. */
export const processThenHang: Reply = after(Effect.never)

/** Resets the connection without processing. */
export const reset: Reply = ({ response }) => Effect.sync(() => void response.socket?.resetAndDestroy())

/** Processes, then resets the connection: the state has changed and nobody was told. */
export const processThenReset: Reply = after(Effect.void, reset)

/** Answers with any status, headers and body without processing. */
export const raw = (answer: Partial<Answer>): Reply => ({ send }) =>
  send({ status: answer.status ?? 200, headers: answer.headers ?? {}, body: answer.body ?? "" })

/** Answers with JSON without processing. */
export const json = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Reply =>
  raw({ status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) })

/**
 * Answers with an OAuth error; with status 200 as some providers do.
 *
 * @see RFC 6749 section 5.2
 */
export const error = (code: string, status = 400, description?: string): Reply =>
  json(status, { error: code, ...(description === undefined ? {} : { error_description: description }) })

/** Answers with an HTML page, as a firewall in front of a provider does. */
export const html = (status: number, body = "<!doctype html><title>Blocked</title><h1>Request blocked</h1>"): Reply =>
  raw({ status, headers: { "content-type": "text/html" }, body })

/** Answers with a redirect without processing. */
export const redirect = (location: string, status = 307): Reply => raw({ status, headers: { location } })

/** Processes and sends a changed answer. */
export const transform = (change: (answer: Answer) => Answer): Reply => ({ process, send }) =>
  Effect.suspend(() => send(change(process())))

/** Processes and sends the JSON answer with members replaced; a member given as `undefined` goes. */
export const patch = (members: Readonly<Record<string, unknown>>): Reply =>
  transform((answer) => ({ ...answer, body: JSON.stringify({ ...parse(answer), ...members }) }))

/** Processes and sends other bytes in place of the body. */
export const body = (bytes: string | Uint8Array, contentType = "application/json"): Reply =>
  transform((answer) => ({ ...answer, headers: { ...answer.headers, "content-type": contentType }, body: bytes }))

/** Processes and sends the answer under another content type. */
export const contentType = (type: string): Reply =>
  transform((answer) => ({ ...answer, headers: { ...answer.headers, "content-type": type } }))

/** Processes and sends the members form-encoded, as GitHub does without `Accept`. */
export const formEncoded: Reply = transform((answer) => ({
  ...answer,
  headers: { ...answer.headers, "content-type": "application/x-www-form-urlencoded" },
  body: new URLSearchParams(
    Object.entries(parse(answer)).map(([name, value]): [string, string] => [name, String(value)])
  ).toString()
}))

/** Processes, announces the whole body, sends half of it and closes the connection. */
export const shortRead: Reply = ({ process, response }) =>
  Effect.sync(() => {
    const answer = process()
    const bytes = Buffer.from(answer.body)
    response.writeHead(answer.status, { ...answer.headers, "content-length": String(bytes.length) })
    response.write(bytes.subarray(0, bytes.length >> 1), () => response.socket?.destroy())
  })

/** Processes and sends half of the body as if it were the whole. */
export const truncated: Reply = transform((answer) => {
  const bytes = Buffer.from(answer.body)
  return { ...answer, body: bytes.subarray(0, bytes.length >> 1) }
})

/** Processes and sends the body byte by byte with a pause before each, on the clock of the test. */
export const drip = (pause: Duration.Input): Reply => ({ process, response }) =>
  Effect.suspend(() => {
    const answer = process()
    response.writeHead(answer.status, answer.headers)
    response.flushHeaders()
    return Effect.forEach(
      Buffer.from(answer.body),
      (byte) => Effect.andThen(Effect.sleep(pause), Effect.sync(() => void response.write(Buffer.of(byte)))),
      { discard: true }
    ).pipe(Effect.andThen(Effect.sync(() => void response.end())))
  })

/** Processes and sends a body without end, as fast as it is read, until the reader goes. */
export const endless: Reply = ({ process, response }) =>
  Effect.callback<void>((resume) => {
    const answer = process()
    response.once("close", () => resume(Effect.void))
    response.writeHead(answer.status, answer.headers)
    response.write("{\"padding\":\"")
    const chunk = Buffer.alloc(1 << 16, "x")
    const more = () => {
      while (!response.destroyed && response.write(chunk)) { /* until the buffer is full */ }
    }
    response.on("drain", more)
    more()
  })

/** Processes and sends a small compressed body that unpacks to the given size. */
export const gzipBomb = (mebibytes: number): Reply =>
  transform((answer) => ({
    ...answer,
    headers: { ...answer.headers, "content-encoding": "gzip" },
    body: gzipSync(Buffer.alloc(mebibytes << 20, " "))
  }))

const parse = (answer: Answer): Record<string, unknown> => {
  try {
    return JSON.parse(Buffer.from(answer.body).toString()) as Record<string, unknown>
  } catch {
    return {}
  }
}
