import { Effect, Metric, type Redacted } from "effect"
import { CallbackRejected } from "../Authorization.ts"
import { CipherError } from "../Cipher.ts"
import * as Instruments from "../Instruments.ts"
import { StateTags } from "../StateTags.ts"
import { makeAllowance } from "./allowance.ts"

/** How many undecided states a process looks up in a second: anybody can write one, and each costs a query. */
const undecidedPerSecond = 50

/**
 * Builds what stands between a callback and the store: a state that this installation never made gets no further. One
 * that only the store can tell is let through now and then; the others may come back.
 */
export const makeStateGate = Effect.map(StateTags, (states) => {
  const lookups = makeAllowance(undecidedPerSecond)

  return Effect.fnUntraced(function*(state: Redacted.Redacted) {
    const verdict = yield* states.judge(state)
    if (verdict === "ours" || (verdict === "undecided" && (yield* lookups.take))) return
    yield* Metric.update(Instruments.callbackDropped(verdict), 1)
    return yield* verdict === "foreign"
      ? new CallbackRejected({ code: "callback_unknown" })
      : new CipherError({ code: "encryption_key_unavailable" })
  })
})
