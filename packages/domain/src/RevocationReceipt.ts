import { type DateTime, Schema } from "effect"
import type { ConnectionKey } from "./Connection.ts"
import { Digest } from "./Entropy.ts"

/** Schema for the name of a receipt: SHA-256 of the outbox entry's id. */
export const ReceiptId = Digest.pipe(Schema.brand("ReceiptId"))
export type ReceiptId = typeof ReceiptId.Type

/**
 * Schema for what became of one token at its authorization server. `confirmed`: it is void there. `unsupported`: the
 * server offers no revocation, or none for this kind of token, so the token lives until it expires. `given_up`: no
 * attempt was answered as it should have been. `pending`: it is tried again.
 *
 * @see RFC 7009 §2.2
 */
export const TokenRevocation = Schema.Literals(["pending", "confirmed", "unsupported", "given_up"])
export type TokenRevocation = typeof TokenRevocation.Type

/** Schema for why tokens are revoked: their owner disconnected, or they came when nobody wanted them any more. */
export const RevocationCause = Schema.Literals(["disconnect", "late_result"])
export type RevocationCause = typeof RevocationCause.Type

/** What attempts have brought so far. */
export interface RevocationProgress {
  /** Absent when there is no such token. */
  readonly accessToken?: TokenRevocation | undefined
  readonly refreshToken?: TokenRevocation | undefined
  /** Stable code of the failure of the last attempt. */
  readonly error?: string | undefined
}

/** What is known of a revocation, before and after it is settled. It holds no secret. */
export interface RevocationReceipt extends RevocationProgress {
  readonly id: ReceiptId
  readonly key: ConnectionKey
  readonly cause: RevocationCause
  /** When the tokens ceased to be used here. */
  readonly createdAt: DateTime.Utc
  /** Attempts whose end is known. */
  readonly attempts: number
  /** When the access token ends by itself, if that is known. */
  readonly accessTokenExpiresAt?: DateTime.Utc | undefined
  /** While something is pending. */
  readonly nextAttemptAt?: DateTime.Utc | undefined
  readonly settledAt?: DateTime.Utc | undefined
}

/** Schema for a whole revocation in one word; `partial` when some tokens are void and the others cannot be revoked. */
export const RevocationOutcome = Schema.Literals(["pending", "confirmed", "partial", "unsupported", "given_up"])
export type RevocationOutcome = typeof RevocationOutcome.Type

/** The outcome of the tokens together: never better than that of any of them. */
export const outcomeOf = ({ accessToken, refreshToken }: RevocationProgress): RevocationOutcome => {
  const outcomes = [accessToken, refreshToken].filter((one) => one !== undefined)
  if (outcomes.includes("pending")) return "pending"
  if (outcomes.includes("given_up")) return "given_up"
  if (!outcomes.includes("unsupported")) return "confirmed"
  return outcomes.includes("confirmed") ? "partial" : "unsupported"
}
