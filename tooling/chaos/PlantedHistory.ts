import { judge } from "./Checker.ts"
import type { Call, Change, Deed, Fault, History, Redemption } from "./History.ts"

/** A history that a test changes. */
export type Draft = { -readonly [Key in keyof History]: History[Key] }

/** A redemption that was answered soon. */
export const redemption = (of: Partial<Redemption> & Pick<Redemption, "at" | "token">): Redemption => ({
  grant: 1,
  replica: 0,
  plan: "honest",
  outcome: "issued",
  answered: of.at + 5,
  ...of
})

/** A call that was answered soon: with a token where one is named. */
export const call = (of: Partial<Call> & Pick<Call, "at">): Call => ({
  end: of.at + 10,
  connection: 1,
  replica: 0,
  status: of.token === undefined ? 503 : 200,
  retryAfter: of.token === undefined,
  ...of
})

/** A change of the first connection's row. */
export const change = (of: Partial<Change> & Pick<Change, "at">): Change => ({
  connection: 1,
  epoch: "e1",
  generation: 1,
  status: "active",
  reason: undefined,
  ...of
})

/** A deposit of the first consent. */
export const deposit = (of: Partial<Deed> & Pick<Deed, "at">): Deed => ({
  what: "deposit",
  end: of.at + 10,
  connection: 1,
  grant: 1,
  done: true,
  ...of
})

/** Two connections; the first is deposited, refreshed twice, and refreshed once more when everything is healed. */
export const sound = (): Draft => ({
  subjects: [1, 2].map((id) => ({
    id,
    tenant: `t${id}`,
    subject: "s",
    server: `c${id}`,
    policy: "retry-once",
    mode: "refuse",
    lifetimeSeconds: 100
  })),
  grants: [
    { id: 1, connection: 1, refreshToken: "R1", accessToken: "A0", at: 900 },
    { id: 2, connection: 2, refreshToken: "Q1", accessToken: "B0", at: 900 }
  ],
  redemptions: [
    redemption({ at: 2000, token: "R1", accessToken: "A1", refreshToken: "R2", expiresAt: 102_000 }),
    redemption({ at: 62_000, token: "R2", accessToken: "A2", refreshToken: "R3", expiresAt: 162_000, replica: 1 }),
    redemption({ at: 122_000, token: "R3", accessToken: "A3", refreshToken: "R4", expiresAt: 222_000 }),
    redemption({ at: 2100, token: "Q1", grant: 2, accessToken: "B1", refreshToken: "Q2", expiresAt: 102_100 }),
    redemption({ at: 122_100, token: "Q2", grant: 2, accessToken: "B2", refreshToken: "Q3", expiresAt: 222_000 })
  ],
  calls: [
    call({ at: 1990, end: 2020, token: "A1", generation: 2 }),
    call({ at: 3000, token: "A1", generation: 2, replica: 1 }),
    call({ at: 61_990, end: 62_020, token: "A2", generation: 3, replica: 1, rejected: "A1" }),
    call({ at: 63_000, token: "A2", generation: 3 }),
    call({ at: 121_990, end: 122_030, token: "A3", generation: 4, rejected: "A2" }),
    call({ at: 122_100, end: 122_120, token: "B2", generation: 3, connection: 2 })
  ],
  deeds: [deposit({ at: 1000 }), deposit({ at: 1000, connection: 2, grant: 2 })],
  changes: [
    change({ at: 1005 }),
    change({ at: 2010, generation: 2 }),
    change({ at: 62_010, generation: 3 }),
    change({ at: 122_010, generation: 4 }),
    change({ at: 1005, connection: 2 }),
    change({ at: 2110, connection: 2, generation: 2 })
  ],
  marks: [],
  faults: [],
  exits: [],
  rest: [{ connection: 1, phase: "idle" }],
  log: {},
  skew: 0,
  healedAt: 121_000
})

/** The guarantees that the checker finds broken. */
export const broken = (plant: (history: Draft) => void): ReadonlyArray<string> => {
  const history = sound()
  plant(history)
  return [...new Set(judge(history).flatMap(({ violations }) => violations.map(({ id }) => id)))]
}

/** Adds to a history. */
export const add =
  <Key extends "redemptions" | "calls" | "deeds" | "changes" | "marks" | "faults" | "exits" | "rest" | "grants">(
    key: Key,
    ...values: ReadonlyArray<History[Key][number]>
  ) =>
  (history: Draft): void => {
    history[key] = [...history[key], ...values] as never
  }

/** A kill of a replica, or of all. */
export const kill = (from: number, to: number, replica?: number): Fault => ({ what: "kill", from, to, replica })
