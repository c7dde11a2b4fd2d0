import { Effect, type Scope } from "effect"

/** Places by name: each is held until the scope of its holder closes. Nobody waits for one. */
export const makeSlots = () => {
  const taken = new Map<string, number>()
  return {
    take: <E>(name: string, limit: number, full: () => E): Effect.Effect<void, E, Scope.Scope> =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const count = taken.get(name) ?? 0
          if (count >= limit) return Effect.fail(full())
          taken.set(name, count + 1)
          return Effect.void
        }),
        () =>
          Effect.sync(() => {
            const count = taken.get(name)! - 1
            if (count === 0) taken.delete(name)
            else taken.set(name, count)
          })
      )
  }
}
