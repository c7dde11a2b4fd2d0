import type { ConnectionKey } from "@valetkey/domain/Connection"
import type { ConnectionRow } from "@valetkey/store-memory/MemoryWorld"
import { Duration, Effect } from "effect"
import type { Breakage, Theatre } from "./Theatre.ts"

const rowOf = ({ world }: Theatre, key: ConnectionKey) => world.connections.get(key.path)

/** Replaces a part of the row, if there is one. */
const change = (theatre: Theatre, key: ConnectionKey, part: (row: ConnectionRow) => Partial<ConnectionRow>): void => {
  const row = rowOf(theatre, key)
  if (row !== undefined) theatre.world.connections.set(key.path, { ...row, ...part(row) })
}

/** Builds that are broken on purpose, each in one call of a store, with the invariant that a history has to show broken. */
export const breakages = {
  /** A result is stored over whatever generation is there. */
  "no fence": {
    shows: ["I3", "I4"],
    breakage: (theatre) => {
      const { commit } = theatre.connections
      return {
        connections: {
          commit: (key, input) =>
            Effect.suspend(() => {
              const row = rowOf(theatre, key)?.connection
              return commit(key, row?.epoch === input.epoch ? { ...input, generation: row.generation } : input)
            })
        }
      }
    }
  },
  /** A result is stored over a newer consent. */
  "late result overwrites": {
    shows: ["I3", "I4"],
    breakage: (theatre) => {
      const { commit } = theatre.connections
      return {
        connections: {
          commit: (key, input) =>
            Effect.suspend(() => {
              const row = rowOf(theatre, key)?.connection
              return commit(
                key,
                row === undefined || row.epoch === input.epoch
                  ? input
                  : { ...input, epoch: row.epoch, generation: row.generation }
              )
            })
        }
      }
    }
  },
  /** Nobody can tell a request that may have left from one that did not. */
  "no sent phase": {
    shows: ["I1"],
    breakage: (theatre) => {
      const { markSent } = theatre.connections
      return {
        connections: {
          markSent: (key, input) =>
            Effect.tap(markSent(key, input), (marked) =>
              Effect.sync(() => {
                if (marked) change(theatre, key, ({ attempts }) => ({ phase: "claimed", attempts: attempts - 1 }))
              }))
        }
      }
    }
  },
  /** A claim is given although somebody holds one. */
  "no lease": {
    shows: ["I1"],
    breakage: (theatre) => {
      const { claim } = theatre.connections
      return {
        connections: {
          claim: (key, input) =>
            Effect.suspend(() => {
              change(theatre, key, () => ({ phase: "idle", leaseUntil: 0, attempts: 0 }))
              return claim(key, input)
            })
        }
      }
    }
  },
  /** A lease that is over keeps everybody else out. */
  "no takeover": {
    shows: ["I21"],
    breakage: (theatre) => {
      const { claim } = theatre.connections
      return {
        connections: {
          claim: (key, input) =>
            Effect.suspend(() =>
              (rowOf(theatre, key)?.phase ?? "idle") === "idle"
                ? claim(key, input)
                : Effect.succeed({ _tag: "Busy", remaining: Duration.seconds(1) })
            )
        }
      }
    }
  },
  /** Whoever is refused marks the connection, whatever somebody else stored meanwhile. */
  "loser wipes": {
    shows: ["I3", "I5"],
    breakage: (theatre) => {
      const { fail } = theatre.connections
      return {
        connections: {
          fail: (key, input) =>
            Effect.suspend(() => {
              const { failure } = input
              if (failure._tag !== "Terminal") return fail(key, input)
              change(theatre, key, ({ connection }) => ({
                phase: "idle",
                connection: { ...connection, status: { _tag: "needs_reauth", reason: failure.reason } }
              }))
              return Effect.succeed(true)
            })
        }
      }
    }
  },
  /** An answer without a refresh token takes away the one that is there. */
  "merge loses the refresh token": {
    shows: ["I3"],
    breakage: (theatre) => {
      const { commit } = theatre.connections
      const { vault } = theatre
      return {
        connections: {
          commit: (key, input) =>
            Effect.suspend(() => {
              const { refreshToken, ...rest } = input.credentials
              const former = rowOf(theatre, key)?.connection.credentials.refreshToken
              return commit(
                key,
                vault.reveal(refreshToken) === vault.reveal(former) ? { ...input, credentials: rest } : input
              )
            })
        }
      }
    }
  },
  /** A commit that says it happened. */
  "commit forgets": {
    shows: ["I3", "I5", "I7"],
    breakage: () => ({ connections: { commit: () => Effect.succeed(true) } })
  },
  /** The tokens of a connection that ended are owed to nobody. */
  "disconnect owes nothing": {
    shows: ["I23"],
    breakage: (theatre) => {
      const { disconnect } = theatre.connections
      return {
        connections: {
          disconnect: (key, epoch) =>
            Effect.tap(disconnect(key, epoch), () => Effect.sync(() => theatre.world.outbox.clear()))
        }
      }
    }
  },
  /** Every response of a flow claims it. */
  "claim leaves the flow pending": {
    shows: ["I2", "I8"],
    breakage: (theatre) => {
      const { claim } = theatre.flows
      return {
        flows: {
          claim: (input) =>
            Effect.suspend(() => {
              const id = theatre.world.states.get(input.stateHash)
              const row = id === undefined ? undefined : theatre.world.flows.get(id)
              return Effect.tap(claim(input), () =>
                Effect.sync(() => {
                  if (id !== undefined && row !== undefined) theatre.world.flows.set(id, row)
                }))
            })
        }
      }
    }
  },
  /** A start that does not look whether another flow is open. */
  "no slot": {
    shows: ["I8"],
    breakage: (theatre) => {
      const { reserve } = theatre.flows
      return {
        flows: {
          reserve: (input) =>
            Effect.suspend(() => {
              theatre.world.slots.delete(input.key.path)
              return reserve(input)
            })
        }
      }
    }
  },
  /** A response is taken wherever it arrives. */
  "any context": {
    shows: ["I9"],
    breakage: (theatre) => {
      const { claim } = theatre.flows
      return {
        flows: {
          claim: (input) =>
            Effect.suspend(() => {
              const id = theatre.world.states.get(input.stateHash)
              const context = id && theatre.world.flows.get(id)?.authorization?.context
              return claim({ ...input, context: context ?? input.context })
            })
        }
      }
    }
  },
  /** A read that answers with the tokens of somebody else in the row that was asked for. */
  "rows mixed": {
    shows: ["I10"],
    breakage: (theatre) => {
      const { deposit } = theatre.connections
      return {
        connections: {
          deposit: (key, input) => {
            const other = [...theatre.world.connections.values()].find(({ connection }) =>
              connection.key.path !== key.path
            )
            return deposit(key, other === undefined ? input : { ...input, credentials: other.connection.credentials })
          }
        }
      }
    }
  }
} satisfies Readonly<Record<string, { readonly shows: ReadonlyArray<string>; readonly breakage: Breakage }>>
