import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import type { Digest } from "@valetkey/domain/Entropy"
import { DateTime, Duration, Effect, Layer, Option } from "effect"
import { atomically } from "./internal/atomically.ts"
import { atomicallyOf } from "./internal/deletions.ts"
import { type ConsoleRow, MemoryWorld } from "./MemoryWorld.ts"

/** Layer of `ConsoleStore` over the shared state. */
export const layer: Layer.Layer<ConsoleStore, never, MemoryWorld> = Layer.effect(
  ConsoleStore,
  Effect.map(MemoryWorld, ({ consoles, deletions }) => {
    const ofSession = (sessionHash: Digest) => [...consoles.values()].find((row) => row.sessionHash === sessionHash)

    return ConsoleStore.of({
      offer: (draft, { ticketHash, within }) =>
        atomicallyOf({ deletions }, draft.tenant, "offer", (now) => {
          const ticketUntil = after(now, within)
          const session = {
            ...draft,
            createdAt: DateTime.makeUnsafe(now),
            expiresAt: DateTime.makeUnsafe(ticketUntil)
          }
          consoles.set(ticketHash, { session, ticketHash, ticketUntil, sessionHash: undefined, seenAt: now })
          return session
        }),
      find: (ticketHash) =>
        atomically((now) =>
          Option.map(
            Option.filter(Option.fromUndefinedOr(consoles.get(ticketHash)), ({ ticketUntil }) => ticketUntil > now),
            ({ session, sessionHash }) => ({ session, taken: sessionHash !== undefined })
          )
        ),
      take: ({ lifetime, sessionHash, ticketHash }) =>
        atomically((now) => {
          const row = consoles.get(ticketHash)
          if (row === undefined || row.sessionHash !== undefined || row.ticketUntil <= now) return Option.none()
          const session = { ...row.session, expiresAt: DateTime.makeUnsafe(after(now, lifetime)) }
          consoles.set(ticketHash, { ...row, session, sessionHash, seenAt: now })
          return Option.some(session)
        }),
      visit: ({ coarseness, idle, sessionHash }) =>
        atomically((now) => {
          const row = ofSession(sessionHash)
          if (row === undefined || end(row) <= now || after(row.seenAt, idle) <= now) return Option.none()
          if (after(row.seenAt, coarseness) <= now) consoles.set(row.ticketHash, { ...row, seenAt: now })
          return Option.some(row.session)
        }),
      end: (sessionHash) =>
        atomically(() => {
          const row = ofSession(sessionHash)
          if (row !== undefined) consoles.delete(row.ticketHash)
          return Option.map(Option.fromUndefinedOr(row), ({ session }) => session)
        }),
      sweep: (limit) =>
        atomically((now) => {
          const over = [...consoles.values()].filter((row) => end(row) <= now).slice(0, limit)
          for (const { ticketHash } of over) consoles.delete(ticketHash)
          return over.length
        })
    })
  })
)

const after = (now: number, duration: Duration.Duration): number => now + Math.ceil(Duration.toMillis(duration))

const end = ({ session }: ConsoleRow): number => DateTime.toEpochMillis(session.expiresAt)
