import { parseScopes } from "@valetkey/domain/Credentials"
import { ResourceError, type ResourceRequest, ResourceServer } from "@valetkey/domain/ResourceServer"
import { trustOf } from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import type { EgressError } from "@valetkey/egress/EgressError"
import { Duration, Effect, Exit, Layer, Redacted, Scope, Stream } from "effect"
import { parseChallenge } from "./internal/challenge.ts"
import { makeProofs } from "./internal/proofs.ts"

/** Deadlines of a request to a resource. There is no total one: what moves goes on. */
export interface ResourceRequestsOptions {
  /** Until the head of the answer is there, 2 minutes by default. */
  readonly head?: Duration.Input | undefined
  /** How long a body may stand still, 2 minutes by default. */
  readonly idle?: Duration.Input | undefined
  /** The same for a caller that takes a stream of events, which may have none to tell, 1 hour by default. */
  readonly events?: Duration.Input | undefined
}

/** Layer of `ResourceServer` through the guarded client. */
export const layer = (options: ResourceRequestsOptions = {}): Layer.Layer<ResourceServer, never, Egress> =>
  Layer.effect(
    ResourceServer,
    Effect.map(Egress, (egress) => {
      const head = Duration.fromInputUnsafe(options.head ?? "2 minutes")
      const idle = Duration.fromInputUnsafe(options.idle ?? "2 minutes")
      const events = Duration.fromInputUnsafe(options.events ?? "1 hour")
      const proofs = makeProofs()

      /** How a request is authorized. A key that cannot sign is a defect: it was made here, or tried when it was deposited. */
      const authorization = ({ accessToken, method, proofKey, url }: ResourceRequest) =>
        proofKey === undefined
          ? Effect.succeed({ authorization: Redacted.make(`Bearer ${Redacted.value(accessToken)}`) })
          : Effect.promise(() => proofs.headers({ accessToken, proofKey, method, url }))

      const once = Effect.fnUntraced(function*(request: ResourceRequest) {
        const answer = yield* Effect.mapError(
          egress.stream(
            {
              method: request.method,
              url: request.url,
              headers: { ...request.headers, ...(yield* authorization(request)) },
              body: request.body,
              length: request.length
            },
            {
              trust: trustOf(request.url),
              keepAlive: true,
              headersTimeout: head,
              idleTimeout: takesEvents(request) ? events : idle,
              redirect: "response"
            }
          ),
          errorOf
        )
        if (request.proofKey !== undefined) proofs.note(request.url.origin, answer.headers["dpop-nonce"])
        const challenge = answer.status === 401 || answer.status === 403
          ? yield* Effect.promise(() =>
            parseChallenge(answer.headers["www-authenticate"], request.proofKey === undefined ? "bearer" : "dpop")
          )
          : undefined
        return {
          status: answer.status,
          headers: answer.headers,
          challenge: challenge && { error: challenge.error, scopes: parseScopes(challenge.scope ?? "") ?? [] },
          body: Stream.mapError(answer.body, errorOf)
        }
      })

      return ResourceServer.of({
        admits: (resource) => Effect.mapError(egress.admits(resource, trustOf(resource)), errorOf),
        prove: (request) => Effect.map(Effect.promise(() => proofs.headers(request)), ({ dpop }) => dpop),
        send: Effect.fnUntraced(function*(request) {
          const attempt = yield* Scope.fork(yield* Effect.scope)
          const first = yield* Scope.provide(once(request), attempt)
          if (first.challenge?.error !== "use_dpop_nonce" || isIterated(request)) return first
          yield* Scope.close(attempt, Exit.void)
          return yield* once(request)
        })
      })
    })
  )

const isIterated = ({ body }: ResourceRequest): boolean => body !== undefined && !(body instanceof Uint8Array)

const takesEvents = ({ headers }: ResourceRequest): boolean => /\btext\/event-stream\b/i.test(headers["accept"] ?? "")

const errorOf = (error: EgressError): ResourceError =>
  new ResourceError({ code: codes[error.reason._tag], sent: error.sent })

const codes = {
  Refused: "egress_refused",
  Unreachable: "resource_unreachable",
  Interrupted: "resource_interrupted",
  Timeout: "resource_timeout",
  TooLarge: "resource_interrupted",
  Redirected: "resource_interrupted"
} as const
