import { processRevocationResponse, WWWAuthenticateChallengeError } from "oauth4webapi"

/** What a 401 or 403 says about where to get a token. */
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
 * Reads the Bearer challenge of a `WWW-Authenticate` header; undefined when there is none or it is malformed.
 *
 * oauth4webapi parses the header of every response that it processes, and keeps its parser to itself: a bare 401 is
 * the shortest way to it.
 *
 * @see RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1
 */
export const parseChallenge = async (header: string | undefined): Promise<Challenge | undefined> => {
  if (header === undefined || header.length > maxLength) return undefined
  try {
    await processRevocationResponse(new Response(null, { status: 401, headers: { "www-authenticate": header } }))
    return undefined
  } catch (error) {
    if (!(error instanceof WWWAuthenticateChallengeError)) return undefined
    const bearer = error.cause.filter(({ scheme }) => scheme === "bearer" || scheme === "dpop")
    const challenge = bearer.find(({ parameters }) => parameters.resource_metadata !== undefined) ?? bearer[0]
    return challenge === undefined
      ? undefined
      : {
        bound: bearer.every(({ scheme }) => scheme === "dpop"),
        resourceMetadata: challenge.parameters.resource_metadata,
        scope: challenge.parameters.scope,
        error: challenge.parameters.error
      }
  }
}
