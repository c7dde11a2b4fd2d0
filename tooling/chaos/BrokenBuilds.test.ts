import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { breakages, type Name } from "./Breakage.ts"
import { found } from "./Finding.ts"

const limit = 600_000

describe("chaos", () => {
  // Which guarantee a broken build breaks first is up to chance; these it can break.
  const broken: Readonly<Record<Name, ReadonlyArray<string>>> = {
    "no-fence": ["I3", "I4", "I5", "I19", "I20", "I21"],
    "no-sent-phase": ["I1", "I5"],
    "loser-wipes": ["I5"],
    "hasty-drain": ["I19"]
  }

  for (const name of Object.keys(breakages) as ReadonlyArray<Name>) {
    it.live(`finds the deliberately broken build ${name} within a minute`, () =>
      Effect.gen(function*() {
        // As large as a run of the command: a smaller one met what takes a fence only now and then.
        const { ids } = yield* found({ seed: 1, seconds: 60, connections: 500, workers: 128, broken: name })
        assert.isTrue(ids.some((id) => broken[name].includes(id)), `found ${ids.join() || "nothing"}`)
      }), limit)
  }
})
