import { type CallbackTransport, type OpenRequest, TransportError } from "@valetkey/domain/CallbackTransport"
import { FlowLanguages, inLanguageOf } from "@valetkey/domain/FlowTexts"
import { Duration, Effect, FiberSet, Result, type Scope } from "effect"
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http"
import { admit, type Expected } from "./internal/admission.ts"
import { endpoints } from "./internal/endpoint.ts"
import { bind, drain, hasNoAddress, type Listener, stop } from "./internal/listener.ts"
import * as Page from "./internal/page.ts"

/** Limits of the listener; each has a default. */
export interface LoopbackOptions {
  /** Time that a visitor has to send the head of a request, 5 seconds by default. */
  readonly headersTimeout?: Duration.Input | undefined
  /** Sockets open at once, 32 by default. */
  readonly maxSockets?: number | undefined
  /**
   * URL of a client id metadata document that is published elsewhere for programs on people's machines. It has to name the
   * redirect URI `http://127.0.0.1/callback`, which stands for every port.
   */
  readonly clientMetadataUrl?: string | undefined
}

/** The redirect URI that a published document names. */
const describedRedirectUri = "http://127.0.0.1/callback"

/** How long a page may still be written after the listener has closed. */
const linger = Duration.seconds(2)

/**
 * Makes the transport whose redirect URI is a listener on this machine, one for each flow.
 *
 * It accepts nothing but a GET of its path with its own `Host`; any other request leaves the flow as it is. Pages that
 * are still owed to a browser when a flow ends are written, and end with the scope at the latest.
 *
 * @see RFC 8252 §7.3, §8.3
 */
export const make = (options: LoopbackOptions = {}): Effect.Effect<CallbackTransport, never, Scope.Scope> =>
  Effect.gen(function*() {
    const limits = {
      headersTimeoutMillis: Duration.toMillis(options.headersTimeout ?? "5 seconds"),
      maxSockets: options.maxSockets ?? 32
    }
    const run = yield* FiberSet.makeRuntime<never>()
    const languages = yield* FlowLanguages

    const open = Effect.fnUntraced(function*(request: OpenRequest) {
      let lacksIpv4 = false
      for (const endpoint of endpoints(request.preferred)) {
        if (endpoint.withoutIpv4 === true && !lacksIpv4) continue
        const uriAt = (port: number) => new URL(`http://${endpoint.host}:${port}${endpoint.path}`)
        const handlerOf = (port: number): RequestListener => (incoming, response) =>
          answer(request, { host: uriAt(port).host, path: endpoint.path }, incoming, response)
        const listener = yield* Effect.acquireRelease(bind(endpoint, limits, handlerOf), close).pipe(Effect.result)
        if (Result.isSuccess(listener)) return { redirectUri: uriAt(listener.success.port).href }
        lacksIpv4 = hasNoAddress(listener.failure)
        if (listener.failure.code === "EADDRINUSE") {
          yield* Effect.logWarning("the port of the callback is held by another program; another port is tried", {
            host: endpoint.host,
            port: endpoint.port
          })
        }
      }
      return yield* new TransportError({ code: "callback_port_unavailable", transport: "loopback" })
    })

    const answer = (
      request: OpenRequest,
      expected: Expected,
      incoming: IncomingMessage,
      response: ServerResponse
    ): void => {
      const texts = inLanguageOf(incoming.headers["accept-language"], languages)
      const admission = admit(incoming, expected)
      if (admission._tag === "Refused") {
        return respond(response, Page.rejected(texts, admission.status), admission.headers)
      }
      // What was let in is delivered to the end, whether or not its browser stays.
      run(
        Effect.uninterruptible(request.deliver(admission.received)).pipe(
          Effect.flatMap(({ onward, settled }) =>
            onward === undefined
              ? Effect.map(settled, (flow) => Page.settled(texts, flow))
              : Effect.succeed(Page.onward(onward))
          ),
          Effect.catchTag("CallbackRejected", () => Effect.succeed(Page.rejected(texts, 400))),
          Effect.catchCause(() => Effect.succeed(Page.untold(texts))),
          Effect.flatMap((page) => Effect.sync(() => respond(response, page))),
          Effect.ensuring(Effect.sync(() => response.headersSent || response.destroy()))
        )
      )
    }

    const close = (listener: Listener): Effect.Effect<void> =>
      Effect.sync(() => {
        stop(listener)
        run(Effect.timeoutOption(drain(listener), linger))
      })

    const { clientMetadataUrl } = options
    return {
      kind: "loopback",
      ...(clientMetadataUrl === undefined
        ? {}
        : { describe: () => ({ clientId: clientMetadataUrl, redirectUri: describedRedirectUri }) }),
      open
    }
  })

const respond = (response: ServerResponse, page: Page.Page, headers: Readonly<Record<string, string>> = {}): void => {
  if (response.destroyed || response.headersSent) return
  response.writeHead(page.status, { ...Page.headers, ...page.headers, connection: "close", ...headers })
  response.end(page.status === 204 || response.req.method === "HEAD" ? undefined : page.html)
}
