import { processRevocationResponse, WWWAuthenticateChallengeError } from "oauth4webapi"

/** What a 401 or 403 says: where to get a token, or what is wrong with the one that was sent. */
export interface Challenge {
  /** Whether no scheme but that of proofs of possession is offered (RFC 9449 §7.1). */
  readonly bound: boolean
  readonly resourceMetadata: string | undefined
  readonly scope: string | undefined
  /** RFC 6750 §3.1. */
  readonly error: string | undefined
}

/** Longer headers are not read; no honest challenge comes near. */
const maxLength = 8192

/**
 * Reads the Bearer and DPoP challenges of a `WWW-Authenticate` header; undefined when there is none or it is malformed. Of
 * several, the one of the scheme that was used is the answer to the request, or else the first that names an error.
 *
 * oauth4webapi parses the header of every response that it processes, and keeps its parser to itself: a bare 401 is
 * the shortest way to it.
 *
 * @see RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1
 */
export const parseChallenge = async (
  header: string | undefined,
  used?: "bearer" | "dpop"
): Promise<Challenge | undefined> => {
  if (header === undefined || header.length > maxLength) return undefined
  try {
    await processRevocationResponse(new Response(null, { status: 401, headers: { "www-authenticate": header } }))
    return undefined
  } catch (error) {
    if (!(error instanceof WWWAuthenticateChallengeError)) return undefined
    const offered = error.cause.filter(({ scheme }) => scheme === "bearer" || scheme === "dpop")
    const leading = offered.find(({ parameters }) => parameters.resource_metadata !== undefined)
    // A nonce is asked of proofs alone (RFC 9449 §9): it says nothing of a request without.
    const refusals = offered.filter(({ parameters: { error }, scheme }) =>
      used !== undefined && error !== undefined && (scheme === used || error !== "use_dpop_nonce")
    )
    const answer = refusals.find(({ scheme }) => scheme === used) ?? refusals[0] ?? leading ?? offered[0]
    return answer === undefined
      ? undefined
      : {
        bound: offered.every(({ scheme }) => scheme === "dpop"),
        resourceMetadata: leading?.parameters.resource_metadata,
        scope: answer.parameters.scope,
        error: answer.parameters.error
      }
  }
}
