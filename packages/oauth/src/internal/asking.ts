import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { Effect } from "effect"
import { type Outbound, requestOptions } from "./outbound.ts"

/**
 * Asks an endpoint that metadata named for something that no credentials hang on, with the deadline of discovery. `refused`
 * is what any answer means that cannot be used; what oauth4webapi throws holds the answer, and is told to nobody.
 */
export const ask = <A>(
  outbound: Outbound,
  { endpoint, origin, refused }: {
    readonly endpoint: string
    /** The URL that led to the endpoint. */
    readonly origin: string
    readonly refused: DiscoveryError
  },
  request: (options: ReturnType<typeof requestOptions>) => Promise<A>
): Effect.Effect<A, DiscoveryError> =>
  Effect.tryPromise({
    try: (signal) =>
      request(requestOptions({ egress: outbound.egress, endpoint, origin, deadline: outbound.discovery, signal })),
    catch: (thrown) => {
      if (thrown instanceof DiscoveryError) return thrown
      const cause = findEgressError(thrown)
      if (cause === undefined) return refused
      return new DiscoveryError({
        code: cause.reason._tag === "Refused" ? "egress_refused" : "authorization_server_unreachable",
        cause
      })
    }
  })

/** The error of an answer that is no success: a server that asks to be left alone is one that gave no answer. */
export const failureOf = (status: number, refused: DiscoveryError): DiscoveryError =>
  status === 429 || status >= 500 ? new DiscoveryError({ code: "authorization_server_unreachable" }) : refused
