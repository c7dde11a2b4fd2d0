import { Effect } from "effect"
import { type AuthorizationServerMetadata, DiscoveryError } from "../AuthorizationServer.ts"
import type { Flow } from "../Flow.ts"
import type { Server } from "../Server.ts"
import { type SignedResponses, type SignedResponseTerms, termsOf } from "../SignedResponse.ts"

/** A signed response as it is asked for, and what is frozen of it. */
interface Asked {
  readonly mode: SignedResponses["mode"]
  readonly terms: SignedResponseTerms
}

/** Whether the response of a flow has to be signed: where the server's description asks, or where no plain one is offered. */
export const wantsSigned = ({ quirks }: Server, { signedResponses }: AuthorizationServerMetadata): boolean =>
  quirks.signedResponses ?? signedResponses?.alone ?? false

/**
 * What a start asks of the response; undefined for a plain one. Where it has to be signed and cannot be verified the start
 * fails: what metadata leaves out is no reason to do with less.
 *
 * @see JARM §2.3, §4
 */
export const signedResponseOf = (
  server: Server,
  metadata: AuthorizationServerMetadata
): Effect.Effect<Asked | undefined, DiscoveryError> => {
  if (!wantsSigned(server, metadata)) return Effect.undefined
  const { signedResponses: offered } = metadata
  const terms = termsOf(offered)
  return offered === undefined || terms === undefined
    ? Effect.fail(new DiscoveryError({ code: "signed_response_unsupported" }))
    : Effect.succeed({ mode: offered.mode, terms })
}

/** Whether the response of a flow with this snapshot was asked for as a signed token. */
export const asksForToken = (snapshot: Flow["snapshot"]): boolean =>
  snapshot !== undefined && "signedResponse" in snapshot && snapshot.signedResponse !== undefined
