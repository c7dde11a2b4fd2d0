import { type Cause, Context, Duration, Effect, Layer, Redacted, type Scope, Stream } from "effect"
import { lookup } from "node:dns/promises"
import type { AddressPolicy, Trust } from "./AddressPolicy.ts"
import { EgressError, Redirected, Refused, Timeout, TooLarge } from "./EgressError.ts"
import { openDispatchers } from "./internal/dispatchers.ts"
import { Exchange, type Head, interrupted } from "./internal/exchange.ts"
import { admit } from "./internal/guard.ts"
import { Upload } from "./internal/upload.ts"

/** A request that leaves. */
export interface EgressRequest {
  readonly method: string
  readonly url: URL | string
  /** Headers of the connection itself (`host`, `connection`, `accept-encoding` and the like) are ours and are dropped. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted>> | undefined
  readonly body?: string | Uint8Array | Redacted.Redacted | AsyncIterable<Uint8Array> | undefined
  /** The length of a body that is iterated, where it is known; without it the body is sent in chunks. */
  readonly length?: number | undefined
}

/** How a request may leave. */
export interface EgressOptions {
  /** Where the request comes from; see `AddressPolicy.trustOf`. */
  readonly trust: Trust
  /** Whether to share connections. By default only GET and HEAD do: a token request gets a connection of its own. */
  readonly keepAlive?: boolean | undefined
  /** Cap of the response body, 1 MiB by default. A streamed response has none unless this is set. */
  readonly maxBytes?: number | undefined
  /**
   * Time until the head of the response is there, 10 seconds by default. While an iterated body moves, the time begins
   * anew: an upload may take long, but neither side may stand still for longer.
   */
  readonly headersTimeout?: Duration.Input | undefined
  /** Time that the body may stand still, 10 seconds by default. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Time for everything, 15 seconds by default. Does not bound a streamed body. */
  readonly timeout?: Duration.Input | undefined
  /** Whether a redirect is an error, as by default, or a response to look at. It is never followed. */
  readonly redirect?: "error" | "response" | undefined
  /** Ends the request as interruption does, but with a typed error. */
  readonly signal?: AbortSignal | undefined
}

/** A whole response. Header names are lower case; cookies are left out. */
export interface EgressResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** A response whose body is read as it arrives. */
export interface EgressStreamResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Stream.Stream<Uint8Array, EgressError>
}

/** Settings of the client as a whole. */
export interface EgressLayerOptions {
  readonly policy: AddressPolicy
  /** Time for name resolution, TCP and TLS, 5 seconds by default. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Certificate authorities, as PEM, to trust instead of the built-in ones. */
  readonly certificateAuthorities?: string | undefined
  /** Resolves a name to all of its addresses; the system's resolver by default. */
  readonly resolve?: ((hostname: string) => Promise<ReadonlyArray<string>>) | undefined
}

/** The one guarded HTTP client for everything that leaves. */
export class Egress extends Context.Service<Egress, {
  /** What the policy says of a URL as it is written. A name that it lets pass is judged again when it is dialled. */
  admits(url: URL | string, trust: Trust): Effect.Effect<void, EgressError>
  /**
   * Sends a request at most once and reads the whole response, within the caps. Follows nothing, retries nothing.
   * On failure `EgressError.sent` is false only when certainly no byte of the request left.
   */
  execute(request: EgressRequest, options: EgressOptions): Effect.Effect<EgressResponse, EgressError>
  /** As `execute`, but returns when the head is there; closing the scope ends the connection. */
  stream(request: EgressRequest, options: EgressOptions): Effect.Effect<EgressStreamResponse, EgressError, Scope.Scope>
}>()("@valetkey/egress/Egress") {
  /** Layer that opens nothing until the first request and closes every connection with its scope. */
  static readonly layer = (settings: EgressLayerOptions): Layer.Layer<Egress> =>
    Layer.effect(
      Egress,
      Effect.gen(function*() {
        const dispatchers = yield* openDispatchers({
          policy: settings.policy,
          connectTimeout: Duration.toMillis(settings.connectTimeout ?? "5 seconds"),
          resolve: settings.resolve ?? resolveBySystem,
          ca: settings.certificateAuthorities
        })

        const admitted = (target: URL | string, trust: Trust): Effect.Effect<URL, EgressError> => {
          const url = typeof target === "string" ? URL.parse(target) : target
          if (url === null) return Effect.fail(new EgressError({ reason: new Refused({ rule: "url" }) }))
          const refusal = admit(settings.policy, trust, url)
          return refusal === undefined
            ? Effect.succeed(url)
            : Effect.fail(new EgressError({ reason: new Refused({ rule: refusal.rule }) }))
        }

        const start = Effect.fnUntraced(function*(exchange: Exchange, request: EgressRequest, options: EgressOptions) {
          const url = yield* admitted(request.url, options.trust)
          yield* endOnClose(exchange, options.signal)
          const method = request.method.toUpperCase()
          const shared = options.keepAlive ?? (method === "GET" || method === "HEAD")
          const dispatcher = yield* shared ? dispatchers.shared(options.trust) : dispatchers.own(options.trust, url)
          const upload = new Upload(request.body)
          dispatcher.dispatch({
            origin: url.origin,
            path: `${url.pathname}${url.search}`,
            method: method as "GET",
            headers: headersOf(request),
            body: upload.body,
            headersTimeout: 0,
            bodyTimeout: Duration.toMillis(options.idleTimeout ?? "10 seconds")
          }, exchange)

          const head = yield* headOf(exchange, upload, options)
          if (head.status >= 300 && head.status < 400 && head.status !== 304 && options.redirect !== "response") {
            return yield* exchange.end(() => new Redirected({ status: head.status }))
          }
          if (Number(head.headers["content-length"]) > limitOf(options) && method !== "HEAD") {
            return yield* exchange.end(() => new TooLarge({ limit: limitOf(options) }))
          }
          return head
        })

        const execute = Effect.fnUntraced(function*(request: EgressRequest, options: EgressOptions) {
          const exchange = yield* Exchange.make
          const whole = { ...options, maxBytes: options.maxBytes ?? 1024 * 1024 }
          const read = Effect.gen(function*() {
            const head = yield* start(exchange, request, whole)
            return { ...head, body: yield* collect(exchange, whole) }
          })
          return yield* Effect.timeoutOrElse(Effect.scoped(read), {
            duration: options.timeout ?? "15 seconds",
            orElse: () => Effect.fail(exchange.end((sent) => new Timeout({ sent, phase: "total" })))
          })
        })

        const stream = Effect.fnUntraced(function*(request: EgressRequest, options: EgressOptions) {
          const exchange = yield* Exchange.make
          const head = yield* start(exchange, request, options)
          return { ...head, body: Stream.fromEffectRepeat(counted(exchange, options)) }
        })

        return Egress.of({ admits: (url, trust) => Effect.asVoid(admitted(url, trust)), execute, stream })
      })
    )
}

const resolveBySystem = async (hostname: string): Promise<ReadonlyArray<string>> =>
  (await lookup(hostname, { all: true })).map(({ address }) => address)

const limitOf = (options: EgressOptions): number => options.maxBytes ?? Number.POSITIVE_INFINITY

const endOnClose = (
  exchange: Exchange,
  signal: AbortSignal | undefined
): Effect.Effect<void, EgressError, Scope.Scope> =>
  Effect.suspend(() => {
    if (signal?.aborted === true) return Effect.fail(exchange.end(interrupted))
    const close = () => exchange.close()
    signal?.addEventListener("abort", close)
    return Effect.addFinalizer(() =>
      Effect.sync(() => {
        signal?.removeEventListener("abort", close)
        close()
      })
    )
  })

/** The head, or a timeout once nothing has moved for as long as the head may take. */
const headOf = (exchange: Exchange, upload: Upload, options: EgressOptions): Effect.Effect<Head, EgressError> =>
  Effect.suspend(() => {
    const moved = upload.pieces
    return Effect.timeoutOrElse(exchange.head, {
      duration: options.headersTimeout ?? "10 seconds",
      orElse: () =>
        upload.pieces === moved
          ? Effect.fail(exchange.end((sent) => new Timeout({ sent, phase: sent ? "headers" : "connect" })))
          : headOf(exchange, upload, options)
    })
  })

/** The pieces of a body, failing once they are more than the cap. */
const counted = (exchange: Exchange, options: EgressOptions) => {
  const limit = limitOf(options)
  let total = 0
  return Effect.flatMap(exchange.next, (chunk): Effect.Effect<Uint8Array, EgressError | Cause.Done> => {
    total += chunk.byteLength
    return total > limit ? Effect.fail(exchange.end(() => new TooLarge({ limit }))) : Effect.succeed(chunk)
  })
}

const collect = (exchange: Exchange, options: EgressOptions): Effect.Effect<Uint8Array, EgressError> =>
  Stream.fromEffectRepeat(counted(exchange, options)).pipe(
    Stream.runCollect,
    Effect.map((chunks) => Buffer.concat(chunks))
  )

/** Headers that belong to the connection, which is ours. */
const connectionHeaders = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

const headersOf = (request: EgressRequest): Record<string, string> => {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers ?? {})) {
    if (connectionHeaders.has(name.toLowerCase())) continue
    headers[name.toLowerCase()] = Redacted.isRedacted(value) ? Redacted.value(value) : value
  }
  if (request.length !== undefined) headers["content-length"] = String(request.length)
  // A body that arrives as it is counts against the cap as it is: no decompression bombs.
  headers["accept-encoding"] = "identity"
  return headers
}
