import type { RedemptionPolicy } from "@valetkey/domain/Server"

/** How the authorization server of a connection treats a refresh token that was used. */
export const modes = ["refuse", "revoke", "grace", "real"] as const
export type Mode = typeof modes[number]

/** A connection under test. */
export interface Subject {
  readonly id: number
  readonly tenant: string
  readonly subject: string
  readonly server: string
  readonly policy: RedemptionPolicy
  readonly mode: Mode
  /** Undefined where no answer of the authorization server names it. */
  readonly lifetimeSeconds: number | undefined
}

/** One consent at the authorization server. Grants of a connection are numbered in the order in which they were given. */
export interface Grant {
  readonly id: number
  readonly connection: number
  readonly refreshToken: string
  readonly accessToken: string
  readonly at: number
  /** Since when the person or the provider has withdrawn it. */
  revokedAt?: number | undefined
}

/** One request that carried a refresh token and arrived at the token endpoint. Times are milliseconds of the machine's clock. */
export interface Redemption {
  readonly at: number
  readonly grant: number
  readonly token: string
  /** Who sent it, by the address it came from. */
  readonly replica: number | undefined
  /** What was planned for it (ProviderPlans.ts). */
  readonly plan: string
  /** `turned_away`: answered without looking at the token. `nothing`: neither processed nor answered. */
  readonly outcome: "issued" | "refused" | "turned_away" | "nothing"
  readonly accessToken?: string | undefined
  readonly refreshToken?: string | undefined
  readonly expiresAt?: number | undefined
  /** When the whole answer had left. */
  readonly answered?: number | undefined
}

/**
 * How far a call was that got no answer: no connection, nothing heard on a kept one or on a new one, in the middle of the
 * answer, or it waited for too long.
 */
export type Phase = "connect" | "kept" | "new" | "answer" | "late"

/** One request for a token by a caller. */
export interface Call {
  readonly at: number
  readonly end: number
  readonly connection: number
  readonly replica: number
  readonly rejected?: string | undefined
  /** Status of the answer; 0 when there was none. */
  readonly status: number
  readonly code?: string | undefined
  readonly retryAfter: boolean
  readonly token?: string | undefined
  readonly generation?: number | undefined
  /** What it was called on its way, and its connection, where that was a new one. */
  readonly number?: number | undefined
  readonly socket?: string | undefined
  /** What happened instead of an answer. */
  readonly missed?: string | undefined
  /** How far it was then. */
  readonly phase?: Phase | undefined
  /** Whether the replica's process had accepted the new connection then, and read the request. */
  readonly accepted?: boolean | undefined
  readonly read?: boolean | undefined
  /** Under which id the log has the cause. */
  readonly correlation?: string | undefined
}

/** Something that a person did to a connection, as far as its caller knows. */
export interface Deed {
  readonly what: "deposit" | "disconnect"
  readonly at: number
  readonly end: number
  readonly connection: number
  readonly grant?: number | undefined
  /** The server said that it was done. */
  readonly done: boolean
}

/** One committed change of the generation, epoch or status of a connection's row, in the order of the database. */
export interface Change {
  readonly at: number
  readonly connection: number
  readonly epoch: string
  readonly generation: number
  readonly status: string
  readonly reason: string | undefined
}

/** The commit after which a request with the refresh token of a generation may leave. */
export interface Mark {
  readonly at: number
  readonly connection: number
  readonly epoch: string
  readonly generation: number
  /** Whose session it was. */
  readonly replica: number | undefined
}

/** What was done to whom; without a replica it is done to all of them. */
export interface Fault {
  readonly what: string
  readonly from: number
  readonly to: number
  readonly replica?: number | undefined
}

/** How a replica ended that was asked to. */
export interface Exit {
  readonly at: number
  readonly end: number
  readonly replica: number
  readonly code: unknown
}

/** A connection's row when everything had come to rest. */
export interface Rest {
  readonly connection: number
  readonly phase: string
}

/** Everything that was seen in a run. */
export interface History {
  readonly subjects: ReadonlyArray<Subject>
  readonly grants: ReadonlyArray<Grant>
  readonly redemptions: ReadonlyArray<Redemption>
  readonly calls: ReadonlyArray<Call>
  readonly deeds: ReadonlyArray<Deed>
  readonly changes: ReadonlyArray<Change>
  readonly marks: ReadonlyArray<Mark>
  readonly faults: ReadonlyArray<Fault>
  readonly exits: ReadonlyArray<Exit>
  readonly rest: ReadonlyArray<Rest>
  /** What replicas logged under the ids of answers. */
  readonly log: Readonly<Record<string, ReadonlyArray<string>>>
  /** How far the clocks of two replicas were apart at most, in milliseconds. */
  readonly skew: number
  /** Since when nothing was broken any more; from then on every connection was asked for a token once. */
  readonly healedAt: number
}
