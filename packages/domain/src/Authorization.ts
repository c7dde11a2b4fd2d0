import { Redacted, Result, Schema } from "effect"
import type { ClaimedFlow } from "./FlowStore.ts"
import { claimedState, maxToken } from "./SignedResponse.ts"

/** Error of a callback that settles nothing: the request is answered with a generic page and no row changes. */
export class CallbackRejected extends Schema.TaggedError<CallbackRejected>("valetkey/CallbackRejected")(
  "CallbackRejected",
  { code: Schema.Literals(["callback_malformed", "callback_unknown"]) }
) {
  override get message() {
    return this.code === "callback_malformed"
      ? "The request is not an authorization response"
      : "No pending flow matches: it expired, was never started, or was started by another instance or browser"
  }
}

/** What a response says in its parameters. */
interface Parameters {
  readonly code: Redacted.Redacted | undefined
  readonly iss: string | undefined
  readonly error: string | undefined
}

/**
 * An authorization response as it came over the wire: nothing in it has been checked but its shape (RFC 6749 §4.1.2). Where
 * it is a signed token (JARM §2.3.1) the state is what the token claims, which finds a flow and proves nothing, and nothing
 * else is read of it before `verified`.
 */
export class CallbackReceived {
  readonly _tag = "CallbackReceived"
  readonly state: Redacted.Redacted
  readonly code: Redacted.Redacted | undefined
  readonly iss: string | undefined
  readonly error: string | undefined
  /** The signed token that all of it came in; absent where it came as plain parameters. */
  readonly token: Redacted.Redacted | undefined
  /** Whether the parameters are those of the token, and its signature was found to be good. */
  readonly isVerified: boolean

  private constructor(
    state: Redacted.Redacted,
    { code, error, iss }: Parameters,
    token: Redacted.Redacted | undefined,
    isVerified: boolean
  ) {
    this.state = state
    this.code = code
    this.iss = iss
    this.error = error
    this.token = token
    this.isVerified = isVerified
  }

  /**
   * Reads query parameters. A missing state, a repeated parameter (RFC 6749 §3.1) or an oversize value is
   * `callback_malformed`, and so is a signed response beside plain parameters.
   */
  static parse(query: URLSearchParams): Result.Result<CallbackReceived, CallbackRejected> {
    const values = valuesOf(query)
    if (values === undefined) return malformed
    const { response, state, ...rest } = values
    if (response === undefined) {
      return state === undefined || state === ""
        ? malformed
        : Result.succeed(new CallbackReceived(Redacted.make(state), parametersOf(rest), undefined, false))
    }
    if (Object.keys(values).length > 1) return malformed
    const claimed = claimedState(response)
    return claimed === undefined || claimed.length > limits.state
      ? malformed
      : Result.succeed(
        new CallbackReceived(Redacted.make(claimed), parametersOf({}), Redacted.make(response), false)
      )
  }

  /** The same response with what its token says, for whoever has verified that token for this very state. */
  verified(claims: URLSearchParams): Result.Result<CallbackReceived, AuthorizationRefusal> {
    const values = valuesOf(claims)
    return values === undefined || values["state"] !== Redacted.value(this.state)
      ? Result.fail("malformed_response")
      : Result.succeed(new CallbackReceived(this.state, parametersOf(values), this.token, true))
  }
}

/** The longest value of each parameter. */
const limits = { state: 1024, code: 16_384, iss: 2048, error: 255, response: maxToken }

type Values = { readonly [Name in keyof typeof limits]?: string }

/** The parameters of a response, each once and within its limit; undefined for anything else. */
const valuesOf = (query: URLSearchParams): Values | undefined => {
  const values: { -readonly [Name in keyof Values]: string } = {}
  for (const name of Object.keys(limits) as Array<keyof typeof limits>) {
    const [value, ...more] = query.getAll(name)
    if (value === undefined) continue
    if (more.length > 0 || value.length > limits[name]) return undefined
    values[name] = value
  }
  return values
}

const parametersOf = ({ code, error, iss }: Values): Parameters => ({
  code: code === undefined ? undefined : Redacted.make(code),
  iss,
  error
})

const malformed = Result.fail(new CallbackRejected({ code: "callback_malformed" }))

/** Why an authorization response that belongs to the flow still grants nothing. */
export type AuthorizationRefusal =
  | "response_mode_mismatch"
  | "response_untrusted"
  | "issuer_mismatch"
  | "access_denied"
  | "authorization_refused"
  | "malformed_response"

/**
 * An authorization response whose state, binding, context and issuer all equal those recorded at start, and which
 * carries a code. `accept` alone makes it, and only it can be exchanged.
 */
export class CallbackAccepted {
  readonly _tag = "CallbackAccepted"
  readonly flow: ClaimedFlow
  readonly code: Redacted.Redacted

  private constructor(flow: ClaimedFlow, code: Redacted.Redacted) {
    this.flow = flow
    this.code = code
  }

  /**
   * Checks what is left after the atomic claim has matched state, binding and context: that the response is signed if and
   * only if the start asked for that, and was verified; the issuer (RFC 9207 §2.4, compared as strings), then the error, then
   * the code. On an issuer mismatch the error is not looked at.
   */
  static accept(received: CallbackReceived, flow: ClaimedFlow): Result.Result<CallbackAccepted, AuthorizationRefusal> {
    const { grant, snapshot } = flow.authorization
    if ((received.token !== undefined) !== (snapshot.signedResponse !== undefined)) {
      return Result.fail("response_mode_mismatch")
    }
    if (received.token !== undefined && !received.isVerified) return Result.fail("response_untrusted")
    if (received.iss === undefined ? snapshot.issRequired : received.iss !== grant.issuer) {
      return Result.fail("issuer_mismatch")
    }
    if (received.error !== undefined && received.code !== undefined) return Result.fail("malformed_response")
    if (received.error !== undefined) {
      return Result.fail(received.error === "access_denied" ? "access_denied" : "authorization_refused")
    }
    if (received.code === undefined || Redacted.value(received.code) === "") return Result.fail("malformed_response")
    return Result.succeed(new CallbackAccepted(flow, received.code))
  }

  /** Rebuilds the accepted callback of a flow that waited for `finalize`; every check was made before the code was sealed. */
  static resume(flow: ClaimedFlow, code: Redacted.Redacted): CallbackAccepted {
    return new CallbackAccepted(flow, code)
  }
}
