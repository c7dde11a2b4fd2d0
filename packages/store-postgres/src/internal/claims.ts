import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { longestPause } from "@valetkey/domain/Pacing"
import { type ClaimOutcome, decideClaim, maxAttempts } from "@valetkey/domain/Refresh"
import { longestLease } from "@valetkey/domain/StoredTime"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Effect, type Scope } from "effect"
import type { Database } from "../Database.ts"
import { claimStatement, lookStatement } from "./connectionGroups.ts"
import { decodeRefresh, ofKey } from "./connectionRows.ts"
import { after } from "./databaseTime.ts"
import { storeError } from "./failure.ts"
import { makeGroupedRows } from "./groupedRows.ts"

type Claim = Parameters<ConnectionStore["Service"]["claim"]>[1]

const operation = "ConnectionStore.claim"

/**
 * Builds one attempt at a claim: a statement takes the lease if the rules of `Refresh.decideClaim` give it, and a look says
 * why not. Undefined when the claim came free in between, or somebody else has the row locked.
 */
export const makeClaim = (
  database: Database["Service"]
): Effect.Effect<
  (key: ConnectionKey, input: Claim) => Effect.Effect<ClaimOutcome | undefined, StoreError>,
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const take = yield* makeGroupedRows(database, {
      operation,
      way: "write",
      piece: 16,
      statement: claimStatement,
      answer: (row) => Effect.succeed(row?.fence)
    })
    const look = yield* makeGroupedRows(database, {
      operation,
      way: "read",
      statement: lookStatement,
      answer: (row) =>
        row === undefined
          ? Effect.undefined
          : Effect.mapError(decodeRefresh(row), (error) => storeError(operation, error))
    })

    /** Takes out of the statement's way what the rules overlook: times that the clock was set back from. */
    const setRight = (key: ConnectionKey) =>
      database.forTenant(key.tenant).write(operation, (sql) => {
        const lease = after(sql, longestLease)
        const pause = after(sql, longestPause)
        return sql`UPDATE connections
          SET lease_until = CASE WHEN lease_until > ${lease} THEN ${lease} ELSE lease_until END,
            not_before = CASE WHEN not_before <= ${pause} THEN not_before END
          WHERE ${ofKey(sql, key)} AND (lease_until > ${lease} OR not_before > ${pause})`
      })

    /** Why nothing was taken, by the rules themselves. */
    const whyNot = Effect.fnUntraced(function*(key: ConnectionKey, input: Claim) {
      const found = yield* look({ key })
      if (found === undefined) return { _tag: "Moved" as const }
      const { now, state } = found
      const { next, outcome } = decideClaim(state, { ...input, now })
      if (outcome._tag === "Claimed" ? state.notBefore > now : outcome._tag === "Busy" && next !== undefined) {
        yield* setRight(key)
      }
      if (outcome._tag === "Claimed") return undefined
      if (next?.status._tag !== "needs_reauth") return outcome
      const { reason } = next.status
      const ended = yield* database.forTenant(key.tenant).write(operation, (sql) =>
        sql`UPDATE connections
          SET phase = 'idle', lease_until = NULL, status = 'needs_reauth', reauth_reason = ${reason},
            updated_at = clock_timestamp()
          WHERE ${ofKey(sql, key)} AND generation = ${state.generation} AND epoch = ${state.epoch}
            AND fence = ${state.fence} AND status = 'active' AND attempts >= ${maxAttempts(input.policy)}
            AND (phase = 'idle' OR lease_until <= clock_timestamp())
          RETURNING generation`)
      // Who was not first leaves it to the other one to tell.
      return ended.length === 0 ? { _tag: "Moved" as const } : outcome
    })

    const claim = (key: ConnectionKey, input: Claim) =>
      Effect.flatMap(
        take({
          key,
          generation: input.generation,
          epoch: input.epoch,
          attempts: maxAttempts(input.policy),
          lease: input.lease
        }),
        (fence): Effect.Effect<ClaimOutcome | undefined, StoreError> =>
          fence === undefined ? whyNot(key, input) : Effect.succeed({ _tag: "Claimed", fence })
      )

    // The statement takes over whatever is over, so who leaves something to its owner looks first. What is not sent then is
    // not sent and over a moment later.
    return (key, input) =>
      input.leavesSent === true
        ? Effect.flatMap(
          whyNot(key, input),
          (outcome) => outcome === undefined ? claim(key, input) : Effect.succeed(outcome)
        )
        : claim(key, input)
  })
