import { Effect, type Redacted } from "effect"
import { readBearer } from "../BearerChallenge.ts"
import { OriginRefused, ScopeInsufficient } from "../ResourceError.ts"

/** What hands out the tokens of servers: a `ValetkeyClient`, or something that asks a server as it does. */
export interface Tokens<E, R = never> {
  token(server: string, options?: { readonly rejected?: Redacted.Redacted | undefined }): Effect.Effect<
    {
      readonly accessToken: Redacted.Redacted
      readonly resource?: string | undefined
      readonly scopes?: ReadonlyArray<string> | undefined
    },
    E,
    R
  >
  server(server: string): Effect.Effect<{ readonly resource: string }, E, R>
}

/** A request that is made with a token. */
export interface Authorized<A, E, R> {
  readonly server: string
  readonly url: URL
  /** Whether it can be made a second time. */
  readonly replayable: boolean
  send(token: Redacted.Redacted): Effect.Effect<A, E, R>
  look(answer: A): { readonly status: number; readonly challenge: string | null | undefined }
  /** Lets go of an answer that nobody reads. */
  discard(answer: A): Effect.Effect<void>
}

/**
 * Makes a request with a fresh token, to the origin of its server and to no other. A token that the resource answers with
 * 401 is named once, so that the server replaces it, and the request is made once more if it can be.
 */
export const authorized = <A, E, R, TokenError, TokenServices>(
  tokens: Tokens<TokenError, TokenServices>,
  request: Authorized<A, E, R>
): Effect.Effect<A, E | TokenError | OriginRefused | ScopeInsufficient, R | TokenServices> =>
  Effect.gen(function*() {
    const { server, url } = request
    const first = yield* tokens.token(server)
    const resource = first.resource ?? (yield* tokens.server(server)).resource
    if (url.origin === "null" || URL.parse(resource)?.origin !== url.origin) return yield* new OriginRefused({ server })
    const answer = yield* judged(request, yield* request.send(first.accessToken), first.scopes)
    if (request.look(answer).status !== 401) return answer
    // Also when the request cannot be repeated: the next one has a new token.
    const fresh = yield* Effect.onError(
      tokens.token(server, { rejected: first.accessToken }),
      () => request.discard(answer)
    )
    if (!request.replayable) return answer
    yield* request.discard(answer)
    return yield* judged(request, yield* request.send(fresh.accessToken), fresh.scopes)
  })

/** The answer, unless it asks for more scopes. */
const judged = <A, E, R>(
  request: Authorized<A, E, R>,
  answer: A,
  granted: ReadonlyArray<string> = []
): Effect.Effect<A, ScopeInsufficient> => {
  const { challenge, status } = request.look(answer)
  const bearer = status === 403 ? readBearer(challenge) : undefined
  return bearer?.error !== "insufficient_scope" ? Effect.succeed(answer) : Effect.andThen(
    request.discard(answer),
    Effect.fail(
      new ScopeInsufficient({ server: request.server, scopes: [...new Set([...granted, ...bearer.scopes])] })
    )
  )
}
