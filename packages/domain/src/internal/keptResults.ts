import { Effect } from "effect"
import type { Connection } from "../Connection.ts"
import type { SpoolEntry } from "../Spool.ts"

/** Results of redemptions that neither spool nor store took: they are in this process alone. */
export interface KeptResults {
  /** Knows of a result for as long as the effect goes on that tries to get rid of it. */
  during(entry: SpoolEntry, keeping: Effect.Effect<void>): Effect.Effect<void>
  /** The result that is kept for this generation in this life of the connection. */
  find(connection: Connection): SpoolEntry | undefined
}

/** Makes what a process keeps. */
export const makeKeptResults = (): KeptResults => {
  const entries = new Map<string, SpoolEntry>()
  const nameOf = ({ epoch, key, redeemed }: Pick<SpoolEntry, "epoch" | "key" | "redeemed">) =>
    `${key.path} ${epoch} ${redeemed}`

  return {
    during: (entry, keeping) =>
      Effect.suspend(() => {
        entries.set(nameOf(entry), entry)
        return Effect.ensuring(
          keeping,
          Effect.sync(() => {
            if (entries.get(nameOf(entry)) === entry) entries.delete(nameOf(entry))
          })
        )
      }),
    find: ({ epoch, generation, key }) => entries.get(nameOf({ key, epoch, redeemed: generation }))
  }
}
