import {
  type Connection,
  type ConnectionKey,
  type Epoch,
  Generation,
  type Grant,
  type SealedCredentials
} from "@valetkey/domain/Connection"
import type { RefreshState } from "@valetkey/domain/Refresh"
import { planOf } from "@valetkey/domain/RenewalPlans"
import type { Sealed } from "@valetkey/domain/Sealed"
import { DateTime } from "effect"
import type { ConnectionRow, MemoryWorld } from "../MemoryWorld.ts"

type World = MemoryWorld["Service"]

/** Generation that the store holds for a key; 0 when it holds nothing. */
export const currentGeneration = (world: World, key: ConnectionKey): number =>
  world.connections.get(key.path)?.connection.generation ?? 0

/** Begins a new life of a connection: active, one generation further, under a new epoch. */
export const write = (world: World, key: ConnectionKey, input: {
  readonly epoch: Epoch
  readonly previous: number
  readonly grant: Grant
  readonly clientSecret?: Sealed | undefined
  readonly credentials: SealedCredentials
  readonly account?: Sealed | undefined
  readonly grantedAt?: DateTime.Utc | undefined
}, now: number): void => {
  const before = world.connections.get(key.path)
  const time = DateTime.makeUnsafe(now)
  world.connections.set(key.path, {
    connection: {
      key,
      epoch: input.epoch,
      generation: Generation.make(input.previous + 1),
      status: { _tag: "active" },
      grant: input.grant,
      clientSecret: input.clientSecret,
      credentials: input.credentials,
      account: input.account,
      rejected: false,
      forced: false,
      grantedAt: input.grantedAt ?? time,
      createdAt: before?.connection.createdAt ?? time,
      updatedAt: time
    },
    phase: "idle",
    fence: before?.fence ?? 0,
    attempts: 0,
    leaseUntil: 0,
    notBefore: 0,
    renewAt: planOf(undefined, input.credentials, now)
  })
}

/** Replaces what the row says of the connection. */
export const update = (world: World, row: ConnectionRow, connection: Connection, now: number): void => {
  world.connections.set(connection.key.path, {
    ...row,
    connection: { ...connection, updatedAt: DateTime.makeUnsafe(now) }
  })
}

/** The part of a row that the rules of `Refresh` read and write. */
export const refreshState = (row: ConnectionRow): RefreshState => ({
  status: row.connection.status,
  generation: row.connection.generation,
  epoch: row.connection.epoch,
  phase: row.phase,
  fence: row.fence,
  attempts: row.attempts,
  leaseUntil: row.leaseUntil,
  notBefore: row.notBefore
})

/** Stores what the rules of `Refresh` decided. */
export const setRefreshState = (world: World, row: ConnectionRow, next: RefreshState, now: number): void => {
  const { status, generation: _, epoch: __, ...refresh } = next
  update(world, { ...row, ...refresh }, { ...row.connection, status }, now)
}
