import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { type ClaimOutcome, decideClaim, maxAttempts } from "@valetkey/domain/Refresh"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Effect, type Scope } from "effect"
import type { Database } from "../Database.ts"
import { claimStatement, lookStatement } from "./connectionGroups.ts"
import { decodeRefresh, ofKey } from "./connectionRows.ts"
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

    /** Why nothing was taken, by the rules themselves. */
    const whyNot = Effect.fnUntraced(function*(key: ConnectionKey, input: Claim) {
      const found = yield* look({ key })
      if (found === undefined) return { _tag: "Moved" as const }
      const { now, state } = found
      const { next, outcome } = decideClaim(state, { ...input, now })
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

    return (key, input) =>
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
  })
