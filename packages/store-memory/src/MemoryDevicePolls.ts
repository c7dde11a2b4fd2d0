import { acceptedFence, DevicePolls } from "@valetkey/domain/DevicePolls"
import type { FlowId } from "@valetkey/domain/Flow"
import { Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import * as FlowRows from "./internal/flowRows.ts"
import { type DeviceState, type FlowRow, MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `DevicePolls` over the shared state. */
export const layer: Layer.Layer<DevicePolls, never, MemoryWorld> = Layer.effect(
  DevicePolls,
  Effect.map(MemoryWorld, (world) => {
    /** The row of a flow that waits for a device, with what is known of its device code. */
    const waiting = (row: FlowRow | undefined, now: number): (FlowRow & { readonly device: DeviceState }) | undefined =>
      row?.flow.state === "pending" && row.device !== undefined && FlowRows.overdue(row, now) === undefined
        ? { ...row, device: row.device }
        : undefined
    const held = (id: FlowId, fence: number, now: number) => {
      const row = waiting(world.flows.get(id), now)
      return row?.fence === fence ? row : undefined
    }
    const everyone = (now: number) => [...world.slots.values()].flatMap((id) => waiting(world.flows.get(id), now) ?? [])

    return DevicePolls.of({
      take: ({ lease, limit }) =>
        atomically((now) =>
          everyone(now).filter(({ device }) => device.dueAt <= now).sort((a, b) => a.device.dueAt - b.device.dueAt)
            .slice(0, limit).map((row) => {
              const { device, flow } = row
              const { clientSecret, deviceCode, grant, snapshot } = device.frozen
              const fence = row.fence + 1
              const dueAt = now + Duration.toMillis(lease)
              world.flows.set(flow.id, { ...row, fence, device: { ...device, dueAt, doubtful: true } })
              return {
                id: flow.id,
                key: flow.key,
                fence,
                handOffs: flow.handOffs,
                grant,
                snapshot,
                deviceCode,
                clientSecret,
                interval: device.interval,
                failures: device.failures,
                doubtful: device.doubtful
              }
            })
        ),

      nextDue: atomically((now) => {
        const due = everyone(now).map(({ device }) => device.dueAt)
        return due.length === 0 ? Option.none() : Option.some(Duration.millis(Math.max(0, Math.min(...due) - now)))
      }),

      again: (id, fence, { after, doubtful, failures, interval }) =>
        atomically((now) => {
          const row = held(id, fence, now)
          if (row === undefined) return false
          const dueAt = now + Duration.toMillis(after)
          world.flows.set(id, { ...row, device: { ...row.device, dueAt, interval, failures, doubtful } })
          return true
        }),

      accept: ({ handOffs, id, ...poll }, lease) =>
        atomically((now) => {
          const fence = acceptedFence(poll.fence)
          const found = world.flows.get(id)
          const row = found?.flow.state === "exchanging" && found.fence === fence ? found : waiting(found, now)
          if (row?.flow.handOffs !== handOffs) return Option.none()
          const leaseUntil = now + Duration.toMillis(lease)
          world.flows.set(id, { flow: { ...row.flow, state: "exchanging" }, fence, leaseUntil })
          return Option.some(fence)
        }),

      end: (id, fence, outcome) =>
        atomically((now) => {
          const row = held(id, fence, now)
          if (row === undefined) {
            const found = world.flows.get(id)
            return FlowRows.settledSo(found, fence, outcome) && FlowRows.endedInTime(found)
          }
          return outcome === "expired" || outcome === "outcome_unknown"
            ? FlowRows.settle(world, row, outcome, now)
            : FlowRows.settle(world, row, "failed", now, outcome)
        })
    })
  })
)
