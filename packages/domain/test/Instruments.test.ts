import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Flows } from "@valetkey/domain/Flows"
import { Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer } from "./World.ts"

const series = Effect.map(
  Metric.snapshot,
  (snapshot) =>
    snapshot.filter(({ id }) => id.startsWith("valetkey_")).map(({ attributes, id }) =>
      `${id}${JSON.stringify(attributes ?? {})}`
    ).toSorted()
)

describe("the instruments", () => {
  it.effect("LEAK-07 have the same series for a hundred tenants, people and servers as for one", () =>
    Effect.gen(function*() {
      const [flows, tokens] = [yield* Flows, yield* AccessTokens]
      const live = Effect.fnUntraced(function*(name: string) {
        const key = yield* keyOf(name, { tenant: `tenant-${name}`, subject: `subject-${name}` })
        yield* connect(key)
        yield* tokens.get(key)
        yield* TestClock.adjust("2 hours")
        yield* tokens.get(key)
        const started = yield* flows.start(key, { reauthorize: true })
        if (started._tag === "Started") {
          yield* flows.cancel({ id: started.flow.id, tenant: key.tenant, subject: key.subject })
        }
      })
      yield* live("first")
      const before = yield* series
      assert.isAbove(before.length, 6)
      for (let index = 0; index < 100; index++) yield* live(`server-${index}`)
      const after = yield* series
      assert.deepStrictEqual(after, before)
      assert.notMatch(after.join(), /tenant-|subject-|server-|https?:/)
    }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map())))
})
