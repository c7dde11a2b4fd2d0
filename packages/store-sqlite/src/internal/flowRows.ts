import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { Digest } from "@valetkey/domain/Entropy"
import {
  type AuthorizationSnapshot,
  canTransition,
  type Confirmation,
  type DeviceSnapshot,
  type Flow,
  type FlowFailure,
  type FlowId,
  type FlowState,
  type FrozenTicket,
  type FrozenWay,
  isDevice,
  type TransportKind
} from "@valetkey/domain/Flow"
import type { ClaimedFlow } from "@valetkey/domain/FlowStore"
import { DateTime, Duration } from "effect"
import { after, grantOf, type KeyColumns, keyOf, optionalSealedOf, sealedOf } from "./columns.ts"
import { valuesOf } from "./connectionRows.ts"
import { fromJson, type Session } from "./openDatabase.ts"
import { CorruptRow } from "./storeError.ts"

/** A row of flows. */
export interface FlowColumns extends KeyColumns {
  readonly id: FlowId
  readonly state: FlowState
  readonly failure: FlowFailure | null
  readonly transport: TransportKind
  readonly confirmation: Confirmation
  readonly snapshot: string | null
  readonly grant_json: string | null
  readonly state_hash: Digest | null
  readonly binding_hash: Digest | null
  readonly context: string | null
  readonly code_verifier: Uint8Array | null
  readonly client_secret: Uint8Array | null
  readonly code: Uint8Array | null
  readonly completion_hash: Digest | null
  readonly ticket_hash: Digest | null
  readonly authorization_url: Uint8Array | null
  readonly fence: number
  readonly lease_until: number
  readonly created_at: number
  readonly expires_at: number
  readonly settled_at: number | null
  readonly hand_offs: number
  readonly device_code: Uint8Array | null
  readonly poll_at: number | null
  readonly poll_interval: number | null
  readonly poll_failures: number
  readonly poll_doubtful: number
}

/** The flow of a row as a reader sees it: past its deadline it is expired even before a sweep. */
export const flowOf = (row: FlowColumns, now: number): Flow => {
  const expired = isExpired(row, now)
  const settledAt = expired ? row.expires_at : row.settled_at
  return {
    id: row.id,
    key: keyOf(row),
    state: expired ? "expired" : row.state,
    failure: row.failure ?? undefined,
    transport: row.transport,
    confirmation: row.confirmation,
    handOffs: row.hand_offs,
    snapshot: row.snapshot === null ? undefined : fromJson<AuthorizationSnapshot | DeviceSnapshot>(row.snapshot),
    completionHash: row.completion_hash ?? undefined,
    createdAt: DateTime.makeUnsafe(row.created_at),
    expiresAt: DateTime.makeUnsafe(row.expires_at),
    settledAt: settledAt === null ? undefined : DateTime.makeUnsafe(settledAt)
  }
}

/** The claim that a row of an exchanging flow stands for. */
export const claimOf = (row: FlowColumns): ClaimedFlow => {
  const { code_verifier, context, grant_json, snapshot, state_hash } = row
  if (
    code_verifier === null || context === null || grant_json === null || snapshot === null || state_hash === null
  ) throw new CorruptRow({ cause: "a flow is exchanged that was never frozen" })
  return {
    id: row.id,
    key: keyOf(row),
    fence: row.fence,
    transport: row.transport,
    confirmation: row.confirmation,
    authorization: {
      snapshot: fromJson<AuthorizationSnapshot>(snapshot),
      grant: grantOf(grant_json),
      stateHash: state_hash,
      bindingHash: row.binding_hash ?? undefined,
      context,
      codeVerifier: sealedOf(code_verifier),
      clientSecret: optionalSealedOf(row.client_secret)
    }
  }
}

/** Whether an open flow that nobody exchanges is past its deadline. */
export const isExpired = (row: FlowColumns, now: number): boolean =>
  canTransition(row.state, "expired") && row.expires_at <= now

/** Ends a flow and forgets its secrets; the caller has checked that the flow is open. */
export const settle = (
  session: Session,
  id: FlowId,
  state: FlowState,
  now: number,
  failure: FlowFailure | null = null
): void => {
  session.run(`UPDATE flows SET ${settled} WHERE id = ?`, state, failure, now, id)
}

/** Whether the flow has ended like this under this fence: whoever asks again has not heard of its own commit. */
export const settledSo = (
  session: Session,
  id: FlowId,
  fence: number,
  outcome: FlowFailure | "expired" | "outcome_unknown",
  condition = "true"
): boolean => {
  const [state, failure] = outcome === "expired" || outcome === "outcome_unknown"
    ? [outcome, null]
    : ["failed", outcome]
  return session.one(
    `SELECT id FROM flows WHERE id = ? AND fence = ? AND state = ? AND failure IS ? AND ${condition}`,
    id,
    fence,
    state,
    failure
  ) !== undefined
}

/** What a settling sets: state, failure and time are bound in this order. */
export const settled = `state = ?, failure = ?, settled_at = ?, lease_until = 0, code_verifier = NULL,
  client_secret = NULL, code = NULL, authorization_url = NULL, device_code = NULL, poll_at = NULL`

/** What freezing sets, every column of it: what led to the consent before matches nothing any more. `frozenValues` binds it. */
export const frozen = `snapshot = ?, grant_json = ?, client_secret = ?, state_hash = ?, binding_hash = ?, context = ?,
  code_verifier = ?, ticket_hash = ?, authorization_url = ?, device_code = ?, poll_interval = ?, poll_at = ?,
  expires_at = min(expires_at, ?), poll_failures = 0, poll_doubtful = 0`

/** The values of `frozen`. */
export const frozenValues = (frozen: FrozenWay, ticket: FrozenTicket | undefined, now: number) => {
  const shared = [JSON.stringify(frozen.snapshot), JSON.stringify(frozen.grant), frozen.clientSecret ?? null] as const
  if (isDevice(frozen)) {
    const { deviceCode, expiresIn, interval } = frozen
    const polled = [deviceCode, Duration.toMillis(interval), after(now, interval), after(now, expiresIn)] as const
    return [...shared, null, null, null, null, null, null, ...polled]
  }
  const { bindingHash, codeVerifier, context, stateHash } = frozen
  return [
    ...shared,
    stateHash,
    bindingHash ?? null,
    context,
    codeVerifier,
    ticket?.ticketHash ?? null,
    ticket?.authorizationUrl ?? null,
    null,
    null,
    null,
    Number.MAX_SAFE_INTEGER
  ]
}

/** The flow that holds the connection's slot, after settling one that is overdue. */
export const openFlow = (session: Session, key: ConnectionKey, now: number): FlowColumns | undefined => {
  const row = session.one<FlowColumns>(
    `SELECT * FROM flows WHERE tenant = ? AND subject = ? AND server = ?
       AND state IN ('pending', 'awaiting_finalize', 'exchanging')`,
    ...valuesOf(key)
  )
  if (row === undefined) return undefined
  if (isExpired(row, now)) return void settle(session, row.id, "expired", now)
  // Its holder is gone, and a code may have left.
  if (row.state === "exchanging" && row.lease_until <= now) return void settle(session, row.id, "outcome_unknown", now)
  return row
}
