import * as Reply from "@valetkey/testing/Reply"
import { Effect } from "effect"
import type { Random } from "./Random.ts"

/** What a provider does with one redemption. */
export interface Plan {
  readonly name: string
  readonly reply: Reply.Reply
  /** Answers without looking at the token. */
  readonly turnsAway?: boolean
  /** Leaves the access token out of the answer. */
  readonly forgets?: boolean
}

/** A proxy that lost patience: the provider has redeemed, and nobody is told what. */
export const gateway = "gateway"
/** A page in place of every answer, with its status. */
export const garbage = "garbage"
/** A rotation that is whole but for the access token. */
export const forgetful = "no access token"

const honest: Plan = { name: "honest", reply: Reply.normal }
const pause = (milliseconds: number) => Effect.sleep(milliseconds)

/** Processes late, so that something else can happen first. */
export const late: Plan = { name: "slow", reply: Reply.before(pause(250)) }

const breakages: ReadonlyArray<readonly [weight: number, plan: Plan]> = [
  [2, { name: "hang", reply: Reply.hang }],
  [2, { name: "process and hang", reply: Reply.processThenHang }],
  [4, { name: "process and reset", reply: Reply.processThenReset }],
  [3, { name: "reset", reply: Reply.reset }],
  [3, { name: "short answer", reply: Reply.shortRead }],
  [2, { name: garbage, reply: Reply.body("<html>", "text/html") }],
  [5, { name: "busy", reply: Reply.json(503, {}, { "retry-after": "1" }), turnsAway: true }],
  [3, { name: "throttled", reply: Reply.json(429, {}, { "retry-after": "1" }), turnsAway: true }],
  [1, { name: gateway, reply: Reply.after(Effect.void, Reply.html(502)) }],
  [1, { name: gateway, reply: Reply.after(Effect.void, Reply.html(504)) }],
  [12, { name: "slow", reply: Reply.before(pause(120)) }],
  [12, { name: "slow", reply: Reply.after(pause(120)) }]
]

/** What costs the connection a minute. */
const lasting: typeof breakages = [[1, { name: forgetful, reply: Reply.normal, forgets: true }]]

/** Draws what happens to a redemption; a share of them meets something else than an honest answer. */
export const draw = (random: Random, share: number, mayLast: boolean): Plan =>
  random.next() < share ? random.weighted(mayLast ? [...breakages, ...lasting] : breakages) : honest
