import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { Digest } from "@valetkey/domain/Entropy"
import type { FlowId } from "@valetkey/domain/Flow"
import { type ClaimedFlow, FlowConflict, FlowStore, type Reservation } from "@valetkey/domain/FlowStore"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import * as ConnectionRows from "./internal/connectionRows.ts"
import { atomicallyOf } from "./internal/deletions.ts"
import * as FlowRows from "./internal/flowRows.ts"
import { type FlowRow, MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `FlowStore` over the shared state. */
export const layer: Layer.Layer<FlowStore, never, MemoryWorld> = Layer.effect(
  FlowStore,
  Effect.map(MemoryWorld, (world) => {
    /** The flow that this fence alone may settle. */
    const held = (id: FlowId, fence: number): FlowRow | undefined => {
      const row = world.flows.get(id)
      return row?.flow.state === "exchanging" && row.fence === fence ? row : undefined
    }
    const owned = (input: { readonly id: FlowId; readonly tenant: string; readonly subject: string }) => {
      const row = world.flows.get(input.id)
      return row?.flow.key.tenant === input.tenant && row.flow.key.subject === input.subject ? row : undefined
    }

    return FlowStore.of({
      reserve: (input) =>
        Effect.flatten(
          atomicallyOf<Effect.Effect<Reservation, FlowConflict>>(world, input.key.tenant, "reserve", (now) => {
            const running = FlowRows.openFlow(world, input.key, now)
            if (running !== undefined) {
              if (input.onConflict === "reject") return Effect.fail(new FlowConflict({ running: running.flow.id }))
              if (input.onConflict === "join") {
                return Effect.succeed({ _tag: "Joined", flow: FlowRows.read(running, now) })
              }
              FlowRows.settle(world, running, "superseded", now)
            }
            const flow = {
              id: input.id,
              key: input.key,
              state: "pending" as const,
              transport: input.transport,
              confirmation: input.confirmation,
              handOffs: 0,
              createdAt: DateTime.makeUnsafe(now),
              expiresAt: DateTime.makeUnsafe(now + Duration.toMillis(input.ttl))
            }
            world.flows.set(flow.id, { flow, fence: 0, leaseUntil: 0 })
            world.slots.set(input.key.path, flow.id)
            if (input.frozen !== undefined) {
              const { authorization, ticket } = input.frozen
              FlowRows.freeze(world, { flow, fence: 0, leaseUntil: 0 }, authorization, ticket, now)
            }
            const begun = world.flows.get(flow.id)?.flow ?? flow
            return Effect.succeed({ _tag: "Reserved", flow: begun, superseded: running?.flow.id })
          })
        ),

      freeze: (id, frozen, ticket) =>
        atomically((now) => {
          const row = world.flows.get(id)
          if (row?.flow.state !== "pending" || FlowRows.overdue(row, now) !== undefined) return false
          FlowRows.freeze(world, row, frozen, ticket, now)
          return true
        }),

      handOff: (id, { handOffs, transport }, frozen, ticket) =>
        atomically((now) => {
          const row = world.flows.get(id)
          if (
            row?.flow.state !== "pending" || FlowRows.overdue(row, now) !== undefined ||
            row.flow.snapshot === undefined || row.flow.handOffs !== handOffs
          ) return false
          const flow = { ...row.flow, transport, handOffs: handOffs + 1 }
          FlowRows.freeze(world, { ...row, flow, fence: row.fence + 1 }, frozen, ticket, now)
          return true
        }),

      findByTicket: (input) =>
        atomically((now) => {
          const row = rowOfTicket(world, input, now)
          return row?.hashes === undefined
            ? Option.none()
            : Option.some({ flow: FlowRows.read(row, now), ...row.hashes })
        }),

      bind: (input) =>
        atomically((now) => {
          const row = rowOfTicket(world, input, now)
          if (
            row?.flow.state !== "pending" || FlowRows.overdue(row, now) !== undefined ||
            row.authorization === undefined || row.ticket === undefined ||
            (row.authorization.bindingHash ?? input.bindingHash) !== input.bindingHash
          ) return Option.none()
          const { flow, ticket: { authorizationUrl } } = row
          const { bindingHash } = input
          const { stateHash } = row.authorization
          const authorization = { ...row.authorization, bindingHash }
          world.flows.set(flow.id, { ...row, authorization, hashes: { stateHash, bindingHash } })
          return Option.some({ flow, authorizationUrl })
        }),

      claim: (input) =>
        atomically((now) => {
          const row = rowOfState(world, input.stateHash)
          if (
            row?.flow.state !== "pending" || FlowRows.overdue(row, now) !== undefined ||
            row.authorization?.bindingHash !== input.bindingHash || row.authorization?.context !== input.context ||
            row.ticket !== undefined && input.bindingHash === undefined
          ) return Option.none()
          return Option.some(exchange(world, row, row.authorization, now + Duration.toMillis(input.lease)))
        }),

      hold: (id, fence, { code, completionHash, ttl }) =>
        atomically((now) => {
          const row = held(id, fence)
          if (row === undefined) return false
          const expiresAt = DateTime.makeUnsafe(now + Duration.toMillis(ttl))
          const flow = { ...row.flow, state: "awaiting_finalize" as const, completionHash, expiresAt }
          world.flows.set(id, { ...row, flow, leaseUntil: 0, code })
          return true
        }),

      held: (input) =>
        atomically((now) => {
          const row = rowOfState(world, input.stateHash)
          if (
            row?.flow.state !== "awaiting_finalize" || FlowRows.overdue(row, now) !== undefined ||
            row.authorization?.bindingHash !== input.bindingHash || row.authorization?.context !== input.context ||
            row.code === undefined
          ) return Option.none()
          const { authorization, code, fence, flow: { confirmation, id, key, transport } } = row
          return Option.some({ flow: { id, key, fence, transport, confirmation, authorization }, code })
        }),

      resume: (input) =>
        atomically((now) => {
          const row = owned(input)
          if (
            row?.flow.state !== "awaiting_finalize" || FlowRows.overdue(row, now) !== undefined ||
            row.flow.completionHash !== input.completionHash ||
            row.authorization === undefined || row.code === undefined
          ) return Option.none()
          const flow = exchange(world, row, row.authorization, now + Duration.toMillis(input.lease))
          return Option.some({ flow, code: row.code })
        }),

      complete: (id, fence, write) =>
        atomically((now) => {
          const row = held(id, fence)
          if (row === undefined) return { _tag: "ClaimLost" as const }
          const current = ConnectionRows.currentGeneration(world, row.flow.key)
          if (current !== write.previous) return { _tag: "GenerationMoved" as const, current }
          ConnectionRows.write(world, row.flow.key, write, now)
          FlowRows.settle(world, row, "completed", now)
          return { _tag: "Completed" as const, flow: FlowRows.read(world.flows.get(id) ?? row, now) }
        }),

      fail: (id, fence, failure) =>
        atomically((now) => {
          const row = held(id, fence)
          if (row === undefined) return FlowRows.settledSo(world.flows.get(id), fence, failure)
          return failure === "outcome_unknown"
            ? FlowRows.settle(world, row, failure, now)
            : FlowRows.settle(world, row, "failed", now, failure)
        }),

      abandon: (id) =>
        atomically((now) => {
          const row = world.flows.get(id)
          if (row !== undefined) FlowRows.settle(world, row, "failed", now, "start_failed")
        }),

      cancel: (input) =>
        atomically((now) => {
          const row = owned(input)
          if (row === undefined) return false
          const expired = FlowRows.read(row, now).state === "expired"
          return FlowRows.settle(world, row, expired ? "expired" : "cancelled", now) && !expired
        }),

      get: (input) =>
        atomically((now) => Option.map(Option.fromUndefinedOr(owned(input)), (row) => FlowRows.read(row, now))),

      getAll: (owners) =>
        atomically((now) =>
          owners.flatMap((owner) => {
            const row = owned(owner)
            return row === undefined ? [] : [FlowRows.read(row, now)]
          })
        ),

      ended: (within) =>
        atomically((now) =>
          [...world.flows.values()].flatMap((row) => {
            const { id, settledAt } = FlowRows.read(row, now)
            return settledAt !== undefined && DateTime.toEpochMillis(settledAt) > now - Duration.toMillis(within)
              ? [id]
              : []
          })
        ),

      latest: (key) =>
        atomically((now) => {
          const row = newestOf(world, key)
          return row === undefined ? Option.none() : Option.some(FlowRows.read(row, now))
        }),

      findByState: (stateHash) =>
        atomically((now) => {
          const row = rowOfState(world, stateHash)
          return row === undefined ? Option.none() : Option.some(FlowRows.read(row, now))
        }),

      sweep: (input) =>
        atomically((now) => {
          const settled: Array<FlowId> = []
          for (const id of world.slots.values()) {
            if (settled.length >= input.limit) break
            const row = world.flows.get(id)
            const end = row === undefined ? undefined : FlowRows.overdue(row, now)
            if (row !== undefined && end !== undefined && FlowRows.settle(world, row, end, now)) settled.push(id)
          }
          removeOld(world, now - Duration.toMillis(input.retention), input.limit)
          return settled
        })
    })
  })
)

type World = MemoryWorld["Service"]

const rowOfState = (world: World, stateHash: Digest): FlowRow | undefined => {
  const id = world.states.get(stateHash)
  return id === undefined ? undefined : world.flows.get(id)
}

const rowOfTicket = (
  world: World,
  input: { readonly ticketHash: Digest; readonly within: Duration.Duration },
  now: number
): FlowRow | undefined => {
  const id = world.tickets.get(input.ticketHash)
  const row = id === undefined ? undefined : world.flows.get(id)
  return row !== undefined && DateTime.toEpochMillis(row.flow.createdAt) + Duration.toMillis(input.within) > now
    ? row
    : undefined
}

const exchange = (
  world: World,
  row: FlowRow,
  authorization: ClaimedFlow["authorization"],
  leaseUntil: number
): ClaimedFlow => {
  const fence = row.fence + 1
  world.flows.set(row.flow.id, {
    flow: { ...row.flow, state: "exchanging" },
    fence,
    leaseUntil,
    authorization,
    hashes: row.hashes
  })
  const { confirmation, id, key, transport } = row.flow
  return { id, key, fence, transport, confirmation, authorization }
}

// Maps keep the order of insertion, and replacing a row does not move it.
const newestOf = (world: World, key: ConnectionKey): FlowRow | undefined => {
  let newest: FlowRow | undefined
  for (const row of world.flows.values()) if (row.flow.key.path === key.path) newest = row
  return newest
}

const removeOld = (world: World, before: number, limit: number): void => {
  const newest = new Map<string, FlowId>()
  for (const { flow } of world.flows.values()) newest.set(flow.key.path, flow.id)
  const old: Array<FlowId> = []
  for (const { flow } of world.flows.values()) {
    if (old.length >= limit) break
    if (
      flow.settledAt !== undefined && DateTime.toEpochMillis(flow.settledAt) <= before &&
      newest.get(flow.key.path) !== flow.id
    ) old.push(flow.id)
  }
  for (const id of old) world.flows.delete(id)
  for (const index of [world.states, world.tickets]) {
    for (const [digest, id] of index) if (!world.flows.has(id)) index.delete(digest)
  }
}
