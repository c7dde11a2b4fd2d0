import { Redacted, Result, Schema } from "effect"
import { CallbackReceived } from "./Authorization.ts"
import { maxTarget } from "./CallbackRequest.ts"

/** Error of handing over the address where a browser ended. Nothing changed. */
export class CallbackUrlError extends Schema.TaggedError<CallbackUrlError>("valetkey/CallbackUrlError")(
  "CallbackUrlError",
  {
    code: Schema.Literals([
      "callback_url_invalid",
      "callback_url_late",
      "callback_url_mismatch",
      "callback_url_unexpected"
    ])
  }
) {
  override get message() {
    switch (this.code) {
      case "callback_url_invalid":
        return "That is not the address of an authorization response; paste all of what stands in the browser's address bar, a code alone is not enough"
      case "callback_url_late":
        return "The flow does not wait for an answer any more: it has one, or it is over; look at its status, or start again"
      case "callback_url_mismatch":
        return "The address belongs to something else than this flow; paste the one where the browser ended after this flow's URL was opened"
      case "callback_url_unexpected":
        return "The answer to this flow comes back by itself; open its URL in a browser and go on there"
    }
  }
}

/** The longest address that is read: a request target at its limit and the origin before it. */
export const maxCallbackUrl = maxTarget + 512

/**
 * Reads the address where a browser ended as the response to a redirect URI. Origin and path are compared as they stand:
 * no decoding and no dot segments lead to them. A fragment is left out, as a browser leaves it out of its request.
 *
 * @see RFC 8252 §8.10
 */
export const read = (
  url: Redacted.Redacted,
  redirectUri: string
): Result.Result<CallbackReceived, CallbackUrlError> => {
  const [address = ""] = Redacted.value(url).trim().split("#", 1)
  const mark = address.indexOf("?")
  if (address.length > maxCallbackUrl || mark < 0 || !URL.canParse(address)) return refused("callback_url_invalid")
  if (address.slice(0, mark) !== redirectUri) return refused("callback_url_mismatch")
  return Result.mapError(
    CallbackReceived.parse(new URLSearchParams(address.slice(mark + 1))),
    () => new CallbackUrlError({ code: "callback_url_invalid" })
  )
}

const refused = (code: CallbackUrlError["code"]) => Result.fail(new CallbackUrlError({ code }))
