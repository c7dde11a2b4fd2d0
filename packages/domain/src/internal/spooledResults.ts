import { Effect } from "effect"
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
    const entries = yield* Effect.orElseSucceed(spool.list, () => [])
    const entry = entries.find((one) => one.key.path === key.path && one.epoch === epoch && one.redeemed === generation)
    if (entry === undefined) return false
    const { credentials, id: resultId } = entry
    // What is too late by now is for `Housekeeping.replay` to settle.
    if (yield* connections.commit(key, { generation, epoch, credentials, resultId })) {
      yield* signals.wake(connectionTopic(key))
      yield* Effect.ignore(spool.remove(resultId))
    }
    return true
  })
})
