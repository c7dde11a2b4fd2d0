import { Redacted, Result, Schema } from "effect"
import type { ClaimedFlow } from "./FlowStore.ts"

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

const limits: { readonly [name: string]: number } = { state: 1024, code: 16_384, iss: 2048, error: 255 }

/** An authorization response as it came over the wire: nothing in it has been checked but its shape (RFC 6749 §4.1.2). */
export class CallbackReceived {
  readonly _tag = "CallbackReceived"
  readonly state: Redacted.Redacted
  readonly code: Redacted.Redacted | undefined
  readonly iss: string | undefined
  readonly error: string | undefined

  private constructor(fields: {
    readonly state: Redacted.Redacted
    readonly code: Redacted.Redacted | undefined
    readonly iss: string | undefined
    readonly error: string | undefined
  }) {
    this.state = fields.state
    this.code = fields.code
    this.iss = fields.iss
    this.error = fields.error
  }

  /** Reads query parameters. A missing state, a repeated parameter (RFC 6749 §3.1) or an oversize value is `callback_malformed`. */
  static parse(query: URLSearchParams): Result.Result<CallbackReceived, CallbackRejected> {
    const values: Record<string, string> = {}
    for (const [name, limit] of Object.entries(limits)) {
      const all = query.getAll(name)
      if (all.length > 1 || (all[0] !== undefined && all[0].length > limit)) return malformed
      if (all[0] !== undefined) values[name] = all[0]
    }
    if (values["state"] === undefined || values["state"] === "") return malformed
    return Result.succeed(
      new CallbackReceived({
        state: Redacted.make(values["state"]),
        code: values["code"] === undefined ? undefined : Redacted.make(values["code"]),
        iss: values["iss"],
        error: values["error"]
      })
    )
  }
}

const malformed = Result.fail(new CallbackRejected({ code: "callback_malformed" }))

/** Why an authorization response that belongs to the flow still grants nothing. */
export type AuthorizationRefusal = "issuer_mismatch" | "access_denied" | "authorization_refused" | "malformed_response"

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
   * Checks what is left after the atomic claim has matched state, binding and context: the issuer before anything else
   * (RFC 9207 §2.4, compared as strings), then the error, then the code. On an issuer mismatch the error is not looked at.
   */
  static accept(received: CallbackReceived, flow: ClaimedFlow): Result.Result<CallbackAccepted, AuthorizationRefusal> {
    const { grant, snapshot } = flow.authorization
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
