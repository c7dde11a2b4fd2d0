import { Schema } from "effect"

/** Error of a finalize before the person has come back, or of a flow that waits for none. Nothing changed. */
export class FlowNotReady extends Schema.TaggedError<FlowNotReady>("valetkey/FlowNotReady")("FlowNotReady", {}) {
  readonly code = "flow_not_ready" as const
  override get message() {
    return "The person has not come back yet; finalize when the browser brings the completion code to the returnTo of the start"
  }
}

/** Error of a finalize with another code than the browser of this flow was given. Nothing changed. */
export class CompletionCodeInvalid
  extends Schema.TaggedError<CompletionCodeInvalid>("valetkey/CompletionCodeInvalid")("CompletionCodeInvalid", {})
{
  readonly code = "completion_code_invalid" as const
  override get message() {
    return "The completion code is not the one of this flow; pass on completion_code as the signed-in user's browser brought it"
  }
}

/** Error of a start whose `returnTo` cannot be used. Nothing was reserved. */
export class ReturnUrlError extends Schema.TaggedError<ReturnUrlError>("valetkey/ReturnUrlError")("ReturnUrlError", {
  code: Schema.Literals(["return_url_missing", "return_url_unexpected", "return_url_unregistered"])
}) {
  override get message() {
    switch (this.code) {
      case "return_url_missing":
        return "A start with confirmation finalize needs returnTo: where the browser brings the completion code"
      case "return_url_unexpected":
        return "returnTo goes with confirmation finalize; leave it out, or ask for finalize"
      case "return_url_unregistered":
        return "returnTo is none of the registered return URLs, to the letter; add it to VALETKEY_RETURN_URLS"
    }
  }
}
