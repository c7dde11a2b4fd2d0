import { Effect, Option } from "effect"
import type { Connection } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { Spool } from "../Spool.ts"
import type { KeptResults } from "./keptResults.ts"

/** Builds the adoption of a result: what this process redeemed and the store could not take yet comes before another redemption. */
export const makeSpooledResults = Effect.fnUntraced(function*(kept: KeptResults) {
  const connections = yield* ConnectionStore
  const signals = yield* Signals
  const spool = yield* Spool

  /** True when there was one, whatever came of it: the row is worth another look. */
  return Effect.fnUntraced(function*(connection: Connection) {
    const { epoch, generation, key } = connection
    const entry = kept.find(connection) ?? Option.getOrUndefined(
      yield* Effect.orElseSucceed(spool.find(key, { epoch, redeemed: generation }), Option.none)
    )
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
