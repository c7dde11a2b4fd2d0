import { type Connection, type ConnectionKey, Generation, type SealedCredentials } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { decideClaim, decideFailure, decideSent } from "@valetkey/domain/Refresh"
import { planOf } from "@valetkey/domain/RenewalPlans"
import { endingRevocation, forgettingOf } from "@valetkey/domain/RevocationOutbox"
import { Sealed } from "@valetkey/domain/Sealed"
import { Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import * as ConnectionRows from "./internal/connectionRows.ts"
import { atomicallyOf } from "./internal/deletions.ts"
import * as FlowRows from "./internal/flowRows.ts"
import { owe } from "./internal/revocationRows.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `ConnectionStore` over the shared state. */
export const layer: Layer.Layer<ConnectionStore, never, MemoryWorld> = Layer.effect(
  ConnectionStore,
  Effect.map(MemoryWorld, (world) => {
    const rowOfKey = (key: ConnectionKey) => world.connections.get(key.path)

    return ConnectionStore.of({
      get: (key) => Effect.sync(() => Option.fromUndefinedOr(rowOfKey(key)?.connection)),

      list: (input) =>
        Effect.sync(() =>
          [...world.connections.values()]
            .map((row) => row.connection)
            .filter(({ key }) =>
              key.tenant === input.tenant && key.subject === input.subject &&
              (input.after === undefined || key.server > input.after)
            )
            .sort((a, b) => a.key.server < b.key.server ? -1 : 1)
            .slice(0, input.limit)
        ),

      claim: (key, input) =>
        atomically((now) => {
          const row = rowOfKey(key)
          if (row === undefined) return { _tag: "Moved" as const }
          const { next, outcome } = decideClaim(ConnectionRows.refreshState(row), { ...input, now })
          if (next !== undefined) ConnectionRows.setRefreshState(world, row, next, now)
          return outcome
        }),

      markSent: (key, input) =>
        atomically((now) => {
          const row = rowOfKey(key)
          const next = row && decideSent(ConnectionRows.refreshState(row), { ...input, now })
          if (row === undefined || next === undefined) return false
          ConnectionRows.setRefreshState(world, row, next, now)
          return true
        }),

      commit: (key, input) =>
        atomically((now) => {
          const row = rowOfKey(key)
          if (
            row === undefined || row.connection.generation !== input.generation ||
            row.connection.epoch !== input.epoch || !renewable(row.connection)
          ) return false
          const connection: Connection = {
            ...row.connection,
            generation: Generation.make(input.generation + 1),
            status: { _tag: "active" },
            credentials: input.credentials,
            rejected: false,
            forced: row.connection.rejected
          }
          const idle = { phase: "idle" as const, attempts: 0, leaseUntil: 0, notBefore: 0 }
          const renewAt = planOf(row.renewAt, input.credentials, now)
          ConnectionRows.update(world, { ...row, ...idle, resultId: input.resultId, renewAt }, connection, now)
          return true
        }),

      isCommitted: (key, resultId) => Effect.sync(() => rowOfKey(key)?.resultId === resultId),

      fail: (key, input) =>
        atomically((now) => {
          const row = rowOfKey(key)
          const next = row && decideFailure(ConnectionRows.refreshState(row), { ...input, now })
          if (row === undefined || next === undefined) return false
          ConnectionRows.setRefreshState(world, row, next, now)
          return true
        }),

      reject: (key, { epoch, generation }) =>
        atomically((now) => {
          const row = rowOfKey(key)
          if (
            row === undefined || row.connection.generation !== generation || row.connection.epoch !== epoch ||
            row.connection.rejected
          ) return
          ConnectionRows.update(world, row, { ...row.connection, rejected: true }, now)
        }),

      setExpiry: (key, { epoch, expiresAt, generation }) =>
        atomically((now) => {
          const row = rowOfKey(key)
          if (row === undefined || row.connection.generation !== generation || row.connection.epoch !== epoch) {
            return false
          }
          const credentials = { ...row.connection.credentials, expiresAt }
          const renewAt = planOf(row.renewAt, credentials, now)
          ConnectionRows.update(world, { ...row, renewAt }, { ...row.connection, credentials }, now)
          return true
        }),

      deposit: (key, input) =>
        atomicallyOf(world, key.tenant, "deposit", (now) => {
          if (ConnectionRows.currentGeneration(world, key) !== input.previous) return false
          const former = rowOfKey(key)?.connection
          if (input.owesFormer === true && former !== undefined && former.status._tag !== "revoking") {
            owe(world, endingRevocation(former), "disconnect", now)
          }
          ConnectionRows.write(world, key, input, now)
          return true
        }),

      disconnect: (key, epoch) =>
        atomically((now) => {
          const open = FlowRows.openFlow(world, key, now)
          const cancelled = open !== undefined && FlowRows.settle(world, open, "cancelled", now)
          const row = rowOfKey(key)
          if (row === undefined || row.connection.status._tag === "revoking") return cancelled
          owe(world, endingRevocation(row.connection), "disconnect", now)
          ConnectionRows.update(
            world,
            {
              connection: row.connection,
              phase: "idle",
              fence: row.fence,
              leaseUntil: 0,
              notBefore: 0,
              attempts: 0,
              renewAt: undefined
            },
            {
              ...row.connection,
              epoch,
              status: { _tag: "revoking" },
              clientSecret: undefined,
              account: undefined,
              grantedAt: undefined,
              credentials: withoutSecrets(row.connection.credentials)
            },
            now
          )
          return true
        }),

      forget: (key, { epoch, generation }) =>
        atomically((now) => {
          const row = rowOfKey(key)
          if (
            row === undefined || row.connection.generation !== generation || row.connection.epoch !== epoch ||
            row.connection.status._tag === "revoking" || row.phase !== "idle" ||
            row.connection.status._tag === "active" && row.attempts > 0
          ) return false
          world.forgotten.set(forgettingOf(key, epoch), { tenant: key.tenant, at: now })
          return world.connections.delete(key.path)
        })
    })
  })
)

const renewable = ({ status }: Connection): boolean => status._tag === "active" || status._tag === "needs_reauth"

const withoutSecrets = ({ refreshExpiresAt: _, refreshToken: __, ...rest }: SealedCredentials): SealedCredentials => ({
  ...rest,
  accessToken: Sealed.make(new Uint8Array())
})
