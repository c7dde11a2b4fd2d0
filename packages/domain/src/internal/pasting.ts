import { Effect, Option, type Redacted, Result } from "effect"
import { CallbackUrlError, read } from "../CallbackUrl.ts"
import { Entropy } from "../Entropy.ts"
import type { FlowOwner } from "../Flows.ts"
import { FlowNotFound, FlowStore } from "../FlowStore.ts"
import { callbackContext } from "./callbackContext.ts"
import type { Callbacks } from "./callbacks.ts"
import { asksForToken } from "./signedResponses.ts"

/** Builds `Flows.paste`: an authorization response that the flow's owner carries, in place of the browser. */
export const makePasting = Effect.fnUntraced(function*({ claim, take }: Pick<Callbacks, "claim" | "take">) {
  const flows = yield* FlowStore
  const entropy = yield* Entropy

  const paste = Effect.fn("Flows.paste")(function*(owner: FlowOwner, url: Redacted.Redacted) {
    const found = yield* flows.get(owner)
    if (Option.isNone(found)) return yield* new FlowNotFound()
    yield* Effect.annotateCurrentSpan({ "valetkey.flow": owner.id })
    const { confirmation, key, snapshot, transport } = found.value
    // Anywhere else a browser is bound to the flow, and who carries an address is no browser.
    if (transport !== "loopback" || confirmation !== "none") return yield* refused("callback_url_unexpected")
    if (snapshot === undefined || !("redirectUri" in snapshot)) return yield* refused("callback_url_mismatch")
    const received = read(url, snapshot.redirectUri)
    if (Result.isFailure(received)) return yield* received.failure
    if ((received.success.token !== undefined) !== asksForToken(snapshot)) {
      return yield* refused("callback_url_invalid")
    }
    // Which flow a state belongs to never changes: no claim can come between.
    const stateHash = entropy.digest(received.success.state)
    const named = yield* flows.findByState(stateHash)
    if (Option.isNone(named) || named.value.id !== owner.id) return yield* refused("callback_url_mismatch")
    const claimed = yield* claim(stateHash, { context: callbackContext(entropy, key) })
    if (Option.isNone(claimed)) return yield* refused("callback_url_late")
    yield* take(received.success, stateHash, claimed.value)
  }, Effect.uninterruptible)

  return { paste }
})

const refused = (code: CallbackUrlError["code"]) => new CallbackUrlError({ code })
