import { assert, describe, it } from "@effect/vitest"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as ReverseProxy from "@valetkey/testing/ReverseProxy"
import { Effect } from "effect"

const portOf = ({ origin }: FakeProvider.FakeProvider) => Number(new URL(origin).port)

describe("ReverseProxy", () => {
  it.live("passes requests on in turn, whole, and answers for a server that is not there", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* FakeProvider.make(), yield* FakeProvider.make()]
      const gone = yield* Effect.scoped(Effect.map(FakeProvider.make(), portOf))
      const proxy = yield* ReverseProxy.make({ targets: [portOf(one), portOf(two), gone] })
      const post = Effect.promise(async () => {
        const response = await fetch(`${proxy.origin}/token?x=1`, {
          method: "POST",
          body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: "r" })
        })
        return [response.status, (await response.json() as { error?: string; code?: string }).error]
      })
      const answers = yield* Effect.all([post, post, post])
      assert.deepStrictEqual(answers, [[401, "invalid_client"], [401, "invalid_client"], [502, undefined]])
      assert.deepStrictEqual([proxy.answered(), proxy.failed()], [[1, 1, 0], 1])
      for (const { log } of [one, two]) {
        assert.deepStrictEqual(log.map(({ form, url }) => [url.search, form.get("refresh_token")]), [["?x=1", "r"]])
      }
    }).pipe(Effect.scoped))
})
