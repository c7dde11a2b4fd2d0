import { Effect, Exit, Schema, Scope } from "effect"
import type { AccessToken } from "./AccessToken.ts"
import type { AccessTokens } from "./AccessTokens.ts"
import type { ConnectionKey } from "./Connection.ts"

/** Error of a request that the resource refused for its token, by what the caller can do next. */
export class TokenRefused extends Schema.TaggedError<TokenRefused>("valetkey/TokenRefused")("TokenRefused", {
  code: Schema.Literals(["token_refused", "request_not_replayed", "insufficient_scope"]),
  /** With `insufficient_scope`: the granted scopes and those that the resource names. */
  scopes: Schema.optionalKey(Schema.Array(Schema.String))
}) {
  override get message() {
    switch (this.code) {
      case "token_refused":
        return "The resource refuses an access token that was just issued; check that the server's resource, scopes and issuer are right"
      case "request_not_replayed":
        return "The resource refused the access token or its proof, and the body of the request is gone; there is a new one now, so send the request again"
      case "insufficient_scope":
        return "The resource needs scopes that the person has not granted; start a flow for them"
    }
  }
}

/** What the answer of a resource says of the token that it was asked with. */
export type Verdict =
  | { readonly _tag: "Accepted" }
  /** 401: the token is good for nothing. */
  | { readonly _tag: "Rejected" }
  /** 401 `use_dpop_nonce`: nobody looked at the token (RFC 9449 §9). */
  | { readonly _tag: "Unproved" }
  /** 403 `insufficient_scope` (RFC 6750 §3.1). */
  | { readonly _tag: "Insufficient"; readonly scopes: ReadonlyArray<string> }

/** A request that can be made with any token of its connection. */
export interface Use<A, E, R> {
  /** Makes the request; it may come twice, the second time after the scope of the first is closed. */
  readonly send: (token: AccessToken) => Effect.Effect<A, E, R | Scope.Scope>
  readonly judge: (answer: A) => Verdict
  /** Whether the request can be made again; asked after it was refused. */
  readonly replayable: () => boolean
}

/**
 * Makes a request with a fresh token. A token that the resource rejects is named once, so that it is refreshed unless
 * somebody did already, and the request is made once more. A request for more scopes is told and refreshes nothing.
 */
export const withAccessToken = <A, E, R>(
  tokens: AccessTokens["Service"],
  key: ConnectionKey,
  use: Use<A, E, R>
) =>
  Effect.gen(function*() {
    const outer = yield* Effect.scope
    const first = yield* tokens.get(key)
    const attempt = yield* Scope.fork(outer)
    const answer = yield* Scope.provide(use.send(first), attempt)
    const verdict = use.judge(answer)
    if (verdict._tag === "Accepted") return { answer, token: first }
    yield* Scope.close(attempt, Exit.void)
    if (verdict._tag === "Unproved") return yield* new TokenRefused({ code: "request_not_replayed" })
    if (verdict._tag === "Insufficient") return yield* insufficient(first, verdict.scopes)
    const second = yield* tokens.get(key, { rejected: first.accessToken })
    if (!use.replayable()) return yield* new TokenRefused({ code: "request_not_replayed" })
    const again = yield* use.send(second)
    const final = use.judge(again)
    switch (final._tag) {
      case "Accepted":
        return { answer: again, token: second }
      case "Rejected":
        return yield* new TokenRefused({ code: "token_refused" })
      case "Unproved":
        return yield* new TokenRefused({ code: "request_not_replayed" })
      case "Insufficient":
        return yield* insufficient(second, final.scopes)
    }
  })

/** A new consent replaces the old one, so it has to ask for everything. */
const insufficient = ({ scopes = [] }: AccessToken, needed: ReadonlyArray<string>) =>
  new TokenRefused({ code: "insufficient_scope", scopes: [...new Set([...scopes, ...needed])] })
