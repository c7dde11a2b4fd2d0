import { Effect, Option } from "effect"
import type { Connection } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { Spool } from "../Spool.ts"

/** Builds the adoption of a result: what this process redeemed and the store could not take yet comes before another redemption. */
export const makeSpooledResults = Effect.gen(function*() {
  const connections = yield* ConnectionStore
  const signals = yield* Signals
  const spool = yield* Spool

  /** True when there was one, whatever came of it: the row is worth another look. */
  return Effect.fnUntraced(function*({ epoch, generation, key }: Connection) {
    const entry = yield* Effect.orElseSucceed(spool.find(key, { epoch, redeemed: generation }), Option.none)
    if (Option.isNone(entry)) return false
    const { credentials, id: resultId } = entry.value
    // What is too late by now is for `Housekeeping.replay` to settle.
    if (yield* connections.commit(key, { generation, epoch, credentials, resultId })) {
      yield* signals.wake(connectionTopic(key))
      yield* Effect.ignore(spool.remove(resultId))
    }
    return true
  })
})
