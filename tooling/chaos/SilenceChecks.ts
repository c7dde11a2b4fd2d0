import type { Evidence, Violation } from "./Evidence.ts"

/**
 * I6: where nobody says how long tokens live, one is good until somebody shows that it is refused. So no refresh token is
 * redeemed before a caller has rejected the access token that came with it; a deposit has none, and an answer may lack it.
 */
export const leftAlone = (evidence: Evidence): ReadonlyArray<Violation> =>
  evidence.history.subjects.filter(({ lifetimeSeconds }) => lifetimeSeconds === undefined).flatMap(({ id }) => {
    const redemptions = evidence.redemptionsOf(id)
    const issued = Map.groupBy(redemptions, ({ refreshToken }) => refreshToken)
    const rejectedAt = new Map<string, number>()
    for (const { at, rejected } of evidence.callsOf(id)) {
      if (rejected !== undefined && !rejectedAt.has(rejected)) rejectedAt.set(rejected, at)
    }
    return redemptions.flatMap(({ at, token }): ReadonlyArray<Violation> => {
      const before = issued.get(token)?.map(({ accessToken }) => accessToken) ?? []
      const rejected = before.some((one) => one === undefined || (rejectedAt.get(one) ?? Infinity) <= at)
      if (before.length === 0 || rejected) return []
      return [{ id: "I6", what: "a token without a known end was replaced and nobody rejected it", connection: id, at }]
    })
  })
