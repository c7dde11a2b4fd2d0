import { Clock, Deferred, Duration, Effect, FiberHandle, type Scope, Semaphore } from "effect"
import { RelayFailure } from "../RelayFailure.ts"
import { revisionOf, type Routes, routesOf, routingHeaders } from "./routing.ts"
import { isAnsweredBy, member, type Message, parse, type Request, type RpcError } from "./rpc.ts"
import { discard, type Progress, read, whole } from "./streams.ts"

/** What a session is made of. */
export interface SessionOptions {
  readonly url: URL
  /** Makes the requests that somebody waits for. */
  readonly fetch: typeof fetch
  /** Makes those that nobody waits for: it asks nobody. */
  readonly background: typeof fetch
  /** Takes what the server says of its own accord. */
  tell(message: Message): Effect.Effect<void>
  /** Takes a line for the log. */
  say(text: string): Effect.Effect<void>
}

/** Error of a request that the server refused; `error` is what it says of that in JSON-RPC, where it does. */
export class Refused {
  readonly _tag = "Refused"
  readonly status: number
  readonly error: RpcError | undefined
  constructor(status: number, error: RpcError | undefined) {
    this.status = status
    this.error = error
  }
}

/** The way to one MCP server, through the loss of its sessions. Its scope ends the session at the server. */
export interface Session {
  /** Has a request answered. Fails with what `fetch` rejects with, `Refused` or `RelayFailure`. */
  ask(request: Request): Effect.Effect<Message, unknown>
  /** Sends what is not answered. */
  send(message: Message): Effect.Effect<void, unknown>
}

/** What the server gave with an initialization. */
interface Life {
  readonly id: string | undefined
  readonly version: string | undefined
}

/** What the client began with, to be said again. */
interface Handshake {
  readonly request: Request
  readonly version: unknown
  readonly capabilities: unknown
}

/** How long a server that was there before may be away. */
const patienceMillis = 20_000

/** How long a request may be resumed without a message. */
const silenceMillis = 3_600_000

/** Requests that change nothing: they may be made again when nobody knows whether they arrived. */
const harmless = new Set([
  "initialize",
  "server/discover",
  "ping",
  "tools/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "prompts/list",
  "prompts/get",
  "completion/complete"
])

/** Makes the way; nothing is sent before the first message. */
export const make = (options: SessionOptions): Effect.Effect<Session, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { background, say, tell, url } = options
    const scope = yield* Effect.scope
    const listener = yield* FiberHandle.make()
    const renewing = Semaphore.makeUnsafe(1)
    let life: Life = { id: undefined, version: undefined }
    let handshake: Handshake | undefined
    let routes: Routes = new Map()

    const headersOf = (of: Life, message: Message): Record<string, string> => {
      const revision = revisionOf(message)
      if (revision !== undefined) return routingHeaders(message, revision, routes)
      return {
        ...(of.id === undefined ? {} : { "mcp-session-id": of.id }),
        ...(of.version === undefined ? {} : { "mcp-protocol-version": of.version })
      }
    }

    /** Makes a request, again and again while a server that was there before cannot be reached. */
    const reach = (via: typeof fetch, init: RequestInit): Effect.Effect<Response, unknown> =>
      Effect.gen(function*() {
        const began = yield* Clock.currentTimeMillis
        for (let pause = 100;; pause = Math.min(pause * 2, 2000)) {
          const outcome = yield* Effect.result(
            Effect.tryPromise({ try: (signal) => via(url, { ...init, signal }), catch: (error) => error })
          )
          if (outcome._tag === "Success") return outcome.success
          const away = handshake !== undefined && (yield* Clock.currentTimeMillis) - began < patienceMillis
          if (!neverArrived(outcome.failure) || !away) return yield* translated(outcome.failure)
          yield* Effect.sleep(Duration.millis(pause))
        }
      })

    const post = (message: Message, headers: Record<string, string>, via: typeof fetch) =>
      reach(via, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json", accept: "application/json, text/event-stream" },
        body: JSON.stringify(message)
      })

    const get = (of: Life, lastEventId: string | undefined) =>
      reach(background, {
        headers: {
          ...headersOf(of, { jsonrpc: "2.0" }),
          ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
          accept: "text/event-stream"
        }
      })

    /** Posts a message in the present session; once more in another one if the server has lost it. */
    const deliver = (message: Message, via: typeof fetch) =>
      Effect.gen(function*() {
        const used = life
        const response = yield* post(message, headersOf(used, message), via)
        if (response.ok) return { response, used }
        const refused = yield* refusalOf(response)
        if (used.id === undefined || !isLost(refused)) return yield* Effect.fail(refused)
        yield* renew(used, via)
        const next = life
        const second = yield* post(message, headersOf(next, message), via)
        return second.ok ? { response: second, used: next } : yield* Effect.fail(yield* refusalOf(second))
      })

    /** Begins anew, as the client did, unless somebody else has done so meanwhile. */
    const renew = (lost: Life, via: typeof fetch): Effect.Effect<void, unknown> =>
      renewing.withPermits(1)(Effect.gen(function*() {
        if (life !== lost) return
        if (handshake === undefined) return yield* new RelayFailure({ code: "session_lost" })
        yield* say("The MCP server lost the session; beginning another one")
        const { request, version } = handshake
        const { next, result } = yield* initialize({ ...request, id: `valetkey-${crypto.randomUUID()}` }, via)
        if (member(result.result, "protocolVersion") !== version) {
          return yield* new RelayFailure({ code: result.error === undefined ? "protocol_changed" : "session_lost" })
        }
        const initialized: Message = { jsonrpc: "2.0", method: "notifications/initialized" }
        yield* discard(yield* post(initialized, headersOf(next, initialized), via))
        life = next
        yield* listen
        // What the client knows of the server may be of its former life.
        for (const kind of ["tools", "prompts", "resources"]) {
          if (member(member(handshake.capabilities, kind), "listChanged") !== true) continue
          yield* tell({ jsonrpc: "2.0", method: `notifications/${kind}/list_changed` })
        }
      }))

    const initialize = (request: Request, via: typeof fetch) =>
      Effect.gen(function*() {
        const response = yield* post(request, {}, via)
        if (!response.ok) return yield* Effect.fail(yield* refusalOf(response))
        const id = response.headers.get("mcp-session-id") ?? undefined
        const result = yield* answerTo(request, response, { id, version: undefined })
        const version = member(result.result, "protocolVersion")
        return { result, next: { id, version: typeof version === "string" ? version : undefined } }
      })

    /** The answer in a response, and in the streams that continue it. What else comes is passed on. */
    const answerTo = (request: Request, first: Response, of: Life): Effect.Effect<Message, unknown> =>
      Effect.gen(function*() {
        const progress: Progress = { lastEventId: undefined, pauseMillis: undefined }
        const found = Deferred.makeUnsafe<Message>()
        let silentSince = yield* Clock.currentTimeMillis
        let isSilent = true
        const take = (message: Message) => {
          isSilent = false
          if (message.method !== undefined) return tell(message)
          // An error without an id is about what was asked here.
          const isOurs = isAnsweredBy(request.id, message.id) || message.id === null || message.id === undefined
          return isOurs ? Effect.asVoid(Deferred.succeed(found, message)) : Effect.void
        }
        let response = first
        let vain = 0
        while (true) {
          const before = progress.lastEventId
          yield* Effect.raceFirst(Effect.asVoid(Deferred.await(found)), read(response, progress, take))
          if (Deferred.isDoneUnsafe(found)) return yield* Deferred.await(found)
          vain = progress.lastEventId === before ? vain + 1 : 0
          const now = yield* Clock.currentTimeMillis
          if (!isSilent) silentSince = now
          isSilent = true
          if (progress.lastEventId === undefined || vain > 5 || now - silentSince > silenceMillis) {
            return yield* new RelayFailure({ code: "resource_interrupted" })
          }
          yield* Effect.sleep(Duration.millis(progress.pauseMillis ?? 500 * 2 ** vain))
          response = yield* Effect.mapError(
            get(of, progress.lastEventId),
            () => new RelayFailure({ code: "resource_interrupted" })
          )
          if (!response.ok) {
            yield* discard(response)
            return yield* new RelayFailure({ code: "resource_interrupted", status: response.status })
          }
        }
      })

    /** Reads what the server says of its own accord, for as long as it offers that and the session lasts. */
    const listening = (of: Life): Effect.Effect<void, unknown> =>
      Effect.gen(function*() {
        const progress: Progress = { lastEventId: undefined, pauseMillis: undefined }
        let isComplaining = false
        for (let pause = 1000;; pause = Math.min(pause * 2, 30_000)) {
          const answer = yield* Effect.result(get(of, progress.lastEventId))
          if (answer._tag === "Success") {
            const { ok, status } = answer.success
            if (!ok) {
              yield* discard(answer.success)
              if (status === 404 && of.id !== undefined) {
                // Not here: the next life has its own listener in this one's place.
                yield* Effect.forkIn(Effect.catch(renew(of, background), complain), scope)
                return
              }
              if (status < 500 && status !== 429) return
            } else {
              // An answer here is to nobody.
              yield* read(answer.success, progress, (message) =>
                message.method === undefined ? Effect.void : tell(message))
              pause = 500
              isComplaining = false
            }
          } else if (!isComplaining) {
            isComplaining = true
            yield* complain(answer.failure)
          }
          yield* Effect.sleep(Duration.millis(progress.pauseMillis ?? pause))
        }
      })

    const listen = Effect.suspend(() =>
      FiberHandle.run(listener, Effect.catch(listening(life), complain))
    )

    const complain = (error: unknown) =>
      say(error instanceof Error ? error.message : "A request to the MCP server failed")

    yield* Effect.addFinalizer(() =>
      life.id === undefined ?
        Effect.void :
        Effect.tryPromise((signal) =>
          background(url, { method: "DELETE", headers: headersOf(life, { jsonrpc: "2.0" }), signal })
        ).pipe(
          Effect.flatMap(discard),
          // A server may refuse it, or be gone.
          Effect.timeoutOption("1500 millis"),
          Effect.ignore
        )
    )

    const ask = (request: Request): Effect.Effect<Message, unknown> =>
      Effect.gen(function*() {
        if (request.method === "initialize") {
          const { next, result } = yield* initialize(request, options.fetch)
          if (result.error === undefined) {
            life = next
            handshake = {
              request,
              version: member(result.result, "protocolVersion"),
              capabilities: member(result.result, "capabilities")
            }
          }
          return result
        }
        const { response, used } = yield* deliver(request, options.fetch)
        const answer = yield* answerTo(request, response, used)
        if (request.method === "tools/list") routes = new Map([...routes, ...routesOf(answer.result)])
        return answer
      })

    return {
      ask: (request) =>
        harmless.has(request.method)
          ? Effect.catchIf(ask(request), isInterruption, () => ask(request))
          : ask(request),
      send: (message) =>
        Effect.gen(function*() {
          const { response } = yield* deliver(message, options.fetch)
          yield* discard(response)
          if (message.method === "notifications/initialized") yield* listen
        })
    }
  })

const refusalOf = (response: Response): Effect.Effect<Refused> =>
  Effect.gen(function*() {
    const text = yield* Effect.orElseSucceed(whole(response, 64 * 1024), () => undefined)
    const [message] = text === undefined ? [] : parse(text) ?? []
    const error = message?.error
    return new Refused(
      response.status,
      typeof error?.code === "number" && typeof error.message === "string" ? error : undefined
    )
  })

/**
 * Whether a server does not know a session: 404 by the specification, 400 with a word of it where the server is older. A
 * refusal of parameters is about something else, whatever its words are.
 */
const isLost = ({ error, status }: Refused): boolean =>
  status === 404 || status === 400 && error?.code !== -32602 &&
    /\b(invalid|unknown|missing|expired|no valid) session|not initialized/i.test(error?.message ?? "")

const isInterruption = (error: unknown): boolean =>
  error instanceof RelayFailure && error.code === "resource_interrupted"

/** Whether a request failed before anybody could read it: on the way to a connection, and not on one that was there. */
const neverArrived = (error: unknown): boolean => {
  const cause: unknown = error instanceof TypeError ? error.cause : undefined
  // A host with several addresses was tried at each of them.
  const tries: ReadonlyArray<unknown> = cause instanceof AggregateError ? cause.errors : [cause]
  return tries.length > 0 && tries.every((one) => {
    const { code, syscall } = (one ?? {}) as { readonly code?: unknown; readonly syscall?: unknown }
    return syscall === "connect" || syscall === "getaddrinfo" || code === "UND_ERR_CONNECT_TIMEOUT"
  })
}

/** What `fetch` itself rejects with, in our words; everything else is said by who threw it. */
const translated = (error: unknown) =>
  error instanceof TypeError
    ? new RelayFailure({ code: neverArrived(error) ? "resource_unreachable" : "resource_interrupted" })
    : Effect.fail(error)
