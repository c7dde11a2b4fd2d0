import type { ConnectionKey } from "@valetkey/domain/Connection"
import {
  canTransition,
  type Flow,
  type FlowFailure,
  type FlowState,
  type FrozenTicket,
  type FrozenWay,
  isDevice,
  isTerminal
} from "@valetkey/domain/Flow"
import { DateTime, Duration } from "effect"
import type { FlowRow, MemoryWorld } from "../MemoryWorld.ts"

type World = MemoryWorld["Service"]

/** What an open flow becomes when nobody takes it further: expired, or with an unknown outcome when a code may have left. */
export const overdue = (row: FlowRow, now: number): "expired" | "outcome_unknown" | undefined => {
  if (row.flow.state === "exchanging") return row.leaseUntil <= now ? "outcome_unknown" : undefined
  return !isTerminal(row.flow.state) && isPast(row.flow, now) ? "expired" : undefined
}

/** Records what leads to the consent of a flow; what led there before matches nothing any more. */
export const freeze = (
  world: World,
  row: FlowRow,
  frozen: FrozenWay,
  ticket: FrozenTicket | undefined,
  now: number
): void => {
  const { fence, flow, hashes, leaseUntil, ticket: former } = row
  if (hashes !== undefined) world.states.delete(hashes.stateHash)
  if (former !== undefined) world.tickets.delete(former.ticketHash)
  const { snapshot } = frozen
  if (isDevice(frozen)) {
    const { expiresIn, interval } = frozen
    const expiresAt = Math.min(DateTime.toEpochMillis(flow.expiresAt), now + Duration.toMillis(expiresIn))
    const dueAt = now + Duration.toMillis(interval)
    world.flows.set(flow.id, {
      flow: { ...flow, snapshot, expiresAt: DateTime.makeUnsafe(expiresAt) },
      fence,
      leaseUntil,
      device: { frozen, dueAt, interval, failures: 0, doubtful: false }
    })
    return
  }
  const { bindingHash, stateHash } = frozen
  world.flows.set(flow.id, {
    flow: { ...flow, snapshot },
    fence,
    leaseUntil,
    authorization: frozen,
    ticket,
    hashes: { stateHash, bindingHash }
  })
  world.states.set(stateHash, flow.id)
  if (ticket !== undefined) world.tickets.set(ticket.ticketHash, flow.id)
}

/** The flow as a reader sees it: past its deadline it is expired even before a sweep. */
export const read = (row: FlowRow, now: number): Flow =>
  canTransition(row.flow.state, "expired") && isPast(row.flow, now)
    ? { ...row.flow, state: "expired", settledAt: row.flow.expiresAt }
    : row.flow

/** Ends an open flow: frees the slot and forgets its secrets. False when the state machine has no such edge. */
export const settle = (world: World, row: FlowRow, state: FlowState, now: number, failure?: FlowFailure): boolean => {
  if (!canTransition(row.flow.state, state)) return false
  world.flows.set(row.flow.id, {
    flow: { ...row.flow, state, failure, settledAt: DateTime.makeUnsafe(now) },
    fence: row.fence,
    leaseUntil: 0,
    hashes: row.hashes
  })
  world.slots.delete(row.flow.key.path)
  return true
}

/** Whether the flow has ended like this under this fence: whoever asks again has not heard of its own commit. */
export const settledSo = (
  row: FlowRow | undefined,
  fence: number,
  outcome: FlowFailure | "expired" | "outcome_unknown"
): boolean =>
  row?.fence === fence &&
  (outcome === "expired" || outcome === "outcome_unknown"
    ? row.flow.state === outcome
    : row.flow.state === "failed" && row.flow.failure === outcome)

/** Whether somebody ended the flow before its deadline did. */
export const endedInTime = (row: FlowRow | undefined): boolean =>
  row?.flow.settledAt !== undefined && DateTime.isLessThan(row.flow.settledAt, row.flow.expiresAt)

/** The flow that holds the connection's slot, after settling one that is overdue. */
export const openFlow = (world: World, key: ConnectionKey, now: number): FlowRow | undefined => {
  const id = world.slots.get(key.path)
  const row = id === undefined ? undefined : world.flows.get(id)
  if (row === undefined) return undefined
  const end = overdue(row, now)
  if (end === undefined) return row
  settle(world, row, end, now)
  return undefined
}

const isPast = (flow: Flow, now: number): boolean => DateTime.toEpochMillis(flow.expiresAt) <= now
