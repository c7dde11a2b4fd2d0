import * as LocalSocket from "@valetkey/client/LocalSocket"
import { unexpected, unreachable, type UnreachableReason } from "@valetkey/client/Sentences"
import { Effect } from "effect"
import { CliFailure } from "./CliFailure.ts"
import { exitCode } from "./ExitCode.ts"
import { isProblem, type Operation, type Problem } from "./Wire.ts"

/** A server that can be asked for the operations of the contract. */
export interface Remote {
  call<Input, Output>(operation: Operation<Input, Output>, input: Input): Effect.Effect<Output, CliFailure>
}

/** The server of this user, over its socket, with the token of its present life. */
export const local = (home: { readonly socket: string; readonly token: string }): Remote =>
  make(home.socket, async ({ body, method, path, signal }) => {
    LocalSocket.check(home.socket)
    return LocalSocket.request({
      socket: home.socket,
      method,
      path,
      headers: headersOf(LocalSocket.readToken(home.token), body),
      body,
      signal
    })
  })

/** The server at a URL. Redirects are not followed: one would carry the token to a place that nobody named. */
export const at = (url: string, token: string): Remote =>
  make(url, async ({ body, method, path, signal }) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: headersOf(token, body),
      redirect: "manual",
      signal,
      ...(body === undefined ? {} : { body })
    })
    return { status: response.status, body: await response.text() }
  })

/** Everything, page after page. */
export const everyPage = <Page extends { readonly next?: string }, A>(
  load: (after: string | undefined) => Effect.Effect<Page, CliFailure>,
  itemsOf: (page: Page) => ReadonlyArray<A>
): Effect.Effect<ReadonlyArray<A>, CliFailure> =>
  Effect.gen(function*() {
    const all: Array<A> = []
    let after: string | undefined
    do {
      const page = yield* load(after)
      all.push(...itemsOf(page))
      after = page.next
    } while (after !== undefined)
    return all
  })

interface Request {
  readonly method: string
  readonly path: string
  readonly body: string | undefined
  readonly signal: AbortSignal
}

type Send = (request: Request) => Promise<{ readonly status: number; readonly body: string }>

/** Longer than the longest wait that a server grants: a refresh that somebody else runs. */
const patience = "100 seconds"

const make = (address: string, send: Send): Remote => ({
  call: (operation, input) => {
    const body = operation.body === undefined ? undefined : JSON.stringify(operation.body(input))
    return Effect.tryPromise({
      try: (signal) => send({ method: operation.method, path: operation.path(input), body, signal }),
      catch: (error) => failedOn(error, address)
    }).pipe(
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => Effect.fail(notReached("timeout", address))
      }),
      Effect.flatMap(({ body, status }) => {
        const answer = parse(body)
        if (operation.accepts(answer, status)) return Effect.succeed(answer)
        // A code that this version does not know comes from another version, and its sentence may not fit.
        const known = isProblem(answer) && Object.hasOwn(exitCode, answer.code)
        return Effect.fail(known ? refused(answer, status) : misunderstood(address, status))
      })
    )
  }
})

const headersOf = (token: string, body: string | undefined): Readonly<Record<string, string>> => ({
  authorization: `Bearer ${token}`,
  accept: "application/json",
  ...(body === undefined ? {} : { "content-type": "application/json" })
})

const failedOn = (error: unknown, address: string): CliFailure => {
  if (error instanceof LocalSocket.LocalSocketError) {
    return error.code === "not_http" ? misunderstood(address, undefined) : notReached(error.code, address)
  }
  const code = (error as { readonly cause?: { readonly code?: unknown } } | undefined)?.cause?.code
  return notReached(code === "ECONNREFUSED" || code === "ENOTFOUND" ? "not_running" : "disconnected", address)
}

const notReached = (reason: UnreachableReason, address: string): CliFailure =>
  new CliFailure({
    code: "server_unreachable",
    sentence: unreachable(reason, address),
    transient: reason !== "not_ours"
  })

const misunderstood = (address: string, status: number | undefined): CliFailure =>
  new CliFailure({
    code: "unexpected_response",
    sentence: unexpected(address, status),
    transient: status === 502 || status === 503 || status === 504
  })

/** The server's own safe sentence, with the members that a program may act on. */
const refused = ({ code, detail, ...members }: Problem, status: number): CliFailure => {
  const details = Object.fromEntries(told.flatMap((name) => name in members ? [[name, members[name]]] : []))
  return new CliFailure({
    code,
    sentence: detail,
    details,
    transient: status === 503 && members.retryAfterSeconds !== undefined
  })
}

const told = ["correlationId", "errors", "reason", "running", "retryAfterSeconds"]

const parse = (body: string): unknown => {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
