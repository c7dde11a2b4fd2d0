import { Grant } from "@valetkey/domain/Connection"
import { Digest } from "@valetkey/domain/Entropy"
import {
  AuthorizationSnapshot,
  Confirmation,
  DeviceSnapshot,
  type Flow,
  FlowFailure,
  FlowId,
  FlowState,
  type FrozenTicket,
  type FrozenWay,
  isDevice,
  TransportKind
} from "@valetkey/domain/Flow"
import type { ClaimedFlow } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { DateTime, Duration, Effect, Schema } from "effect"
import type { Sql } from "../Database.ts"
import { keyColumns, keyOf, orNull } from "./columns.ts"
import { after } from "./databaseTime.ts"

const FlowRow = Schema.Struct({
  ...keyColumns,
  id: FlowId,
  state: FlowState,
  failure: orNull(FlowFailure),
  transport: TransportKind,
  confirmation: Confirmation,
  handOffs: Schema.Natural,
  snapshot: Schema.NullOr(Schema.Union([AuthorizationSnapshot, DeviceSnapshot])),
  completionHash: orNull(Digest),
  createdAt: Schema.Date,
  expiresAt: Schema.Date,
  settledAt: orNull(Schema.Date)
})

const ClaimedRow = Schema.Struct({
  ...keyColumns,
  id: FlowId,
  fence: Schema.Natural,
  transport: TransportKind,
  confirmation: Confirmation,
  snapshot: AuthorizationSnapshot,
  grant: Grant,
  context: Schema.String,
  stateHash: Digest,
  bindingHash: orNull(Digest),
  codeVerifier: Sealed,
  clientSecret: orNull(Sealed)
})

/** Columns of a `Flow`. One that is past its deadline reads as expired at that deadline. */
export const flowColumns = (sql: Sql) =>
  sql.literal(
    `tenant, subject, server, id, failure, transport, confirmation, hand_offs, snapshot, completion_hash, created_at,
    expires_at,
    CASE WHEN ${isExpired} THEN 'expired' ELSE state END AS state,
    CASE WHEN ${isExpired} THEN expires_at ELSE settled_at END AS settled_at`
  )

/** Columns of a `ClaimedFlow`. */
export const claimedColumns = (sql: Sql) =>
  sql.literal(`flows.tenant, flows.subject, flows.server, flows.id, flows.fence, flows.transport, flows.confirmation,
    flows.snapshot, flows."grant", flows.context, flows.state_hash, flows.binding_hash, flows.code_verifier,
    flows.client_secret`)

const isExpired = `state IN ('pending', 'awaiting_finalize') AND expires_at <= clock_timestamp()`

/** Condition of a flow that holds its connection's slot. */
export const openCondition = `state IN ('pending', 'awaiting_finalize', 'exchanging')`

/**
 * Condition of a flow whose code is being redeemed, by the lease that such a flow alone has. With the state in its place the
 * planner takes the index of the leases, which is small, and looks through all that end at the moment for one id.
 */
export const exchangingCondition = `lease_until IS NOT NULL`

/** Condition of an open flow that nobody will take further. */
export const overdueCondition = `(${isExpired} OR state = 'exchanging' AND lease_until <= clock_timestamp())`

/** What an overdue flow becomes: expired, or with an unknown outcome when a code may have left. */
export const overdueState = `CASE WHEN state = 'exchanging' THEN 'outcome_unknown' ELSE 'expired' END`

/** Assignments that go with every settling: the time, and no secrets any more. */
export const settledColumns = `settled_at = clock_timestamp(), lease_until = NULL, code_verifier = NULL,
  client_secret = NULL, authorization_code = NULL, authorization_url = NULL, device_code = NULL, poll_at = NULL`

/** Assignments of what is frozen, every column of it: what led to the consent before matches nothing any more. */
export const frozenColumns = (sql: Sql, frozen: FrozenWay, ticket: FrozenTicket | undefined) => {
  const device = isDevice(frozen) ? frozen : undefined
  const redirect = isDevice(frozen) ? undefined : frozen
  const inTime = (duration: Duration.Duration | undefined) => duration === undefined ? sql`NULL` : after(sql, duration)
  return sql`snapshot = ${sql.json(frozen.snapshot)}, "grant" = ${sql.json(frozen.grant)},
    client_secret = ${frozen.clientSecret ?? null}, context = ${redirect?.context ?? null},
    state_hash = ${redirect?.stateHash ?? null}, binding_hash = ${redirect?.bindingHash ?? null},
    code_verifier = ${redirect?.codeVerifier ?? null}, ticket_hash = ${ticket?.ticketHash ?? null},
    authorization_url = ${ticket?.authorizationUrl ?? null}, device_code = ${device?.deviceCode ?? null},
    poll_interval = ${device === undefined ? null : Duration.toMillis(device.interval)}, poll_at = ${
    inTime(device?.interval)
  }, expires_at = least(expires_at, ${inTime(device?.expiresIn)}), poll_failures = 0, poll_doubtful = false`
}

/** Reads a `Flow`. */
export const decodeFlow = (row: unknown): Effect.Effect<Flow, Schema.SchemaError> =>
  Effect.map(
    decodeFlowRow(row),
    ({ completionHash, createdAt, expiresAt, failure, server, settledAt, snapshot, subject, tenant, ...flow }) => ({
      ...flow,
      createdAt: DateTime.fromDateUnsafe(createdAt),
      expiresAt: DateTime.fromDateUnsafe(expiresAt),
      completionHash: completionHash ?? undefined,
      key: keyOf({ tenant, subject, server }),
      failure: failure ?? undefined,
      snapshot: snapshot ?? undefined,
      settledAt: settledAt === null ? undefined : DateTime.fromDateUnsafe(settledAt)
    })
  )

/** Reads a `ClaimedFlow`. */
export const decodeClaimed = (row: unknown): Effect.Effect<ClaimedFlow, Schema.SchemaError> =>
  Effect.map(decodeClaimedRow(row), (row) => ({
    id: row.id,
    key: keyOf(row),
    fence: row.fence,
    transport: row.transport,
    confirmation: row.confirmation,
    authorization: {
      snapshot: row.snapshot,
      grant: row.grant,
      stateHash: row.stateHash,
      bindingHash: row.bindingHash ?? undefined,
      context: row.context,
      codeVerifier: row.codeVerifier,
      clientSecret: row.clientSecret ?? undefined
    }
  }))

const decodeFlowRow = Schema.decodeUnknownEffect(FlowRow)
const decodeClaimedRow = Schema.decodeUnknownEffect(ClaimedRow)
