import { Effect, Redacted } from "effect"
import { readChallenge } from "../BearerChallenge.ts"
import { OriginRefused, ScopeInsufficient } from "../ResourceError.ts"

/** A token, and how it is used. */
export interface Token {
  readonly accessToken: Redacted.Redacted
  /** `Bearer` where nobody says. */
  readonly tokenType?: string | undefined
  /** The proof of possession of the request that was named (RFC 9449 §4.2). */
  readonly proof?: Redacted.Redacted | undefined
  readonly resource?: string | undefined
  readonly scopes?: ReadonlyArray<string> | undefined
}

/** What is asked of a token: it replaces a rejected one, and it comes with the proof of a request where it needs one. */
export interface TokenOptions {
  readonly rejected?: Redacted.Redacted | undefined
  readonly proof?:
    | { readonly method: string; readonly url: string; readonly nonce?: string }
    | undefined
}

/** What hands out the tokens of servers: a `ValetkeyClient`, or something that asks a server as it does. */
export interface Tokens<E, R = never> {
  token(server: string, options?: TokenOptions): Effect.Effect<Token, E, R>
  server(server: string): Effect.Effect<{ readonly resource: string }, E, R>
}

/** What the maker of requests has learned of proofs of possession: that there are no tokens without, and the last nonce. */
export interface Possession {
  wanted: boolean
  /** RFC 9449 §8.2. */
  nonce: string | undefined
}

/** Before anything was learned. */
export const unknownPossession = (): Possession => ({ wanted: false, nonce: undefined })

/** A request that is made with a token. */
export interface Authorized<A, E, R> {
  readonly server: string
  readonly method: string
  readonly url: URL
  readonly possession: Possession
  /** Whether it can be made a second time. */
  readonly replayable: boolean
  send(headers: Readonly<Record<string, string>>): Effect.Effect<A, E, R>
  look(answer: A): {
    readonly status: number
    readonly challenge: string | null | undefined
    readonly nonce: string | null | undefined
  }
  /** Lets go of an answer that nobody reads. */
  discard(answer: A): Effect.Effect<void>
}

/**
 * Makes a request with a fresh token, to the origin of its server and to no other. A token that the resource answers with
 * 401 is named once, so that the server replaces it, and the request is made once more if it can be. An answer that wants
 * its nonce in the proof has looked at no token: the request is made again with it, if it can be.
 */
export const authorized = <A, E, R, TokenError, TokenServices>(
  tokens: Tokens<TokenError, TokenServices>,
  request: Authorized<A, E, R>
): Effect.Effect<A, E | TokenError | OriginRefused | ScopeInsufficient, R | TokenServices> =>
  Effect.gen(function*() {
    const { method, possession, server, url } = request
    const demand = (rejected: Redacted.Redacted | undefined) => {
      const { nonce, wanted } = possession
      const proof = { method, url: `${url.origin}${url.pathname}`, ...(nonce === undefined ? {} : { nonce }) }
      return tokens.token(server, {
        ...(wanted ? { proof } : {}),
        ...(rejected === undefined ? {} : { rejected })
      })
    }
    const obtain = (rejected?: Redacted.Redacted) =>
      Effect.catch(demand(rejected), (error) => {
        if (possession.wanted || !isWithheld(error)) return Effect.fail(error)
        possession.wanted = true
        return demand(rejected)
      })
    let token = yield* obtain()
    const resource = token.resource ?? (yield* tokens.server(server)).resource
    if (url.origin === "null" || URL.parse(resource)?.origin !== url.origin) return yield* new OriginRefused({ server })
    const attempt = Effect.gen(function*() {
      const answer = yield* request.send(headersOf(token))
      possession.nonce = nonceOf(request, answer) ?? possession.nonce
      return yield* judged(request, answer, token.scopes)
    })
    let answer = yield* attempt
    if (wantsNonce(request, answer)) {
      if (!request.replayable || nonceOf(request, answer) === undefined) return answer
      yield* request.discard(answer)
      token = yield* obtain()
      answer = yield* attempt
    }
    if (request.look(answer).status !== 401 || wantsNonce(request, answer)) return answer
    // Also when the request cannot be repeated: the next one has a new token.
    token = yield* Effect.onError(obtain(token.accessToken), () => request.discard(answer))
    if (!request.replayable) return answer
    yield* request.discard(answer)
    return yield* attempt
  })

/** Whether there may be a token for a request that is named. */
const isWithheld = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "code" in error && error.code === "token_not_handed_out"

/** RFC 6750 §2.1, RFC 9449 §7.1. */
const headersOf = ({ accessToken, proof, tokenType }: Token): Readonly<Record<string, string>> =>
  proof !== undefined && tokenType?.toLowerCase() === "dpop"
    ? { authorization: `DPoP ${Redacted.value(accessToken)}`, dpop: Redacted.value(proof) }
    : { authorization: `Bearer ${Redacted.value(accessToken)}` }

/** RFC 9449 §8.1. What is no nonce, as two headers that were joined, would have the server refuse every request after. */
const nonceOf = <A, E, R>(request: Authorized<A, E, R>, answer: A): string | undefined => {
  const { nonce } = request.look(answer)
  return typeof nonce === "string" && /^[\x21\x23-\x5B\x5D-\x7E]{1,1024}$/.test(nonce) ? nonce : undefined
}

/** RFC 9449 §9: this says nothing of the token, also when the nonce is missing, and nothing at all of one that goes without. */
const wantsNonce = <A, E, R>(request: Authorized<A, E, R>, answer: A): boolean => {
  const { challenge, status } = request.look(answer)
  return request.possession.wanted && status === 401 && readChallenge(challenge, "dpop")?.error === "use_dpop_nonce"
}

/** The answer, unless it asks for more scopes. */
const judged = <A, E, R>(
  request: Authorized<A, E, R>,
  answer: A,
  granted: ReadonlyArray<string> = []
): Effect.Effect<A, ScopeInsufficient> => {
  const { challenge, status } = request.look(answer)
  const found = status === 403
    ? [readChallenge(challenge, "bearer"), readChallenge(challenge, "dpop")].find((one) =>
      one?.error === "insufficient_scope"
    )
    : undefined
  return found === undefined ? Effect.succeed(answer) : Effect.andThen(
    request.discard(answer),
    Effect.fail(
      new ScopeInsufficient({ server: request.server, scopes: [...new Set([...granted, ...found.scopes])] })
    )
  )
}
