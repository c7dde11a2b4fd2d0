import { DiscoveryError, type PushRequest } from "@valetkey/domain/AuthorizationServer"
import { Effect, Redacted } from "effect"
import { type AuthorizationServer, processPushedAuthorizationResponse, pushedAuthorizationRequest } from "oauth4webapi"
import { ask, failureOf } from "./internal/asking.ts"
import { clientAuthentication } from "./internal/clientAuthentication.ts"
import type { Outbound } from "./internal/outbound.ts"
import { errorOf, read } from "./TokenResponse.ts"

/**
 * Pushes what an authorization URL asks for, and returns the URL that refers to it. The client proves itself here and
 * nowhere in that URL, which holds nothing but the client's id and the reference.
 *
 * @see RFC 9126 §2, §4
 */
export const push = (
  outbound: Outbound,
  { authMethod, authorizationEndpoint, authorizationUrl, clientId, clientSecret, endpoint, issuer, origin }: PushRequest
): Effect.Effect<Redacted.Redacted, DiscoveryError> =>
  Effect.gen(function*() {
    const auth = yield* clientAuthentication(authMethod, clientSecret)
    if (auth === undefined) return yield* new DiscoveryError({ code: "client_secret_missing" })
    const as: AuthorizationServer = { issuer, pushed_authorization_request_endpoint: endpoint }
    const client = { client_id: clientId }
    const url = new URL(authorizationEndpoint)
    const parameters = new URLSearchParams(new URL(Redacted.value(authorizationUrl)).search)
    // What belongs to the endpoint stays in its URL.
    for (const name of url.searchParams.keys()) parameters.delete(name)
    const answer = yield* ask(
      outbound,
      { endpoint, origin, refused },
      async (options) =>
        processPushedAuthorizationResponse(
          as,
          client,
          await accepted(await pushedAuthorizationRequest(as, client, auth, parameters, options))
        )
    )
    if (!isReference(answer.request_uri) || answer.expires_in <= 0) return yield* refused
    url.searchParams.set("client_id", clientId)
    url.searchParams.set("request_uri", answer.request_uri)
    return Redacted.make(url.href)
  })

const isReference = (text: string): boolean => /^[\x21-\x7E]{1,2048}$/.test(text)

/** The answer as RFC 9126 §2.2 wants it; some servers say 200. */
const accepted = async (response: Response): Promise<Response> => {
  const answer = await read(response)
  const error = errorOf(answer)
  if (error === undefined && (answer.status === 200 || answer.status === 201)) {
    return Response.json(answer.members ?? {}, { status: 201 })
  }
  throw error !== undefined && ofClient.includes(error) ? refusedClient : failureOf(answer.status, refused)
}

/** What a server says that does not know the client or not as it proves itself (RFC 6749 §5.2). */
const ofClient: ReadonlyArray<string> = ["invalid_client", "unauthorized_client"]

const refused = new DiscoveryError({ code: "authorization_request_refused" })
const refusedClient = new DiscoveryError({ code: "client_refused" })
