import { assert, describe, it } from "@effect/vitest"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { Duration, Result } from "effect"
import fc from "fast-check"

describe("Deadlines", () => {
  it("are made only in the order http < refresh < lease < waiter", () => {
    fc.assert(
      fc.property(fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9), fc.nat(9)), ([http, refresh, lease, waiter]) => {
        const made = Deadlines.make({
          http: Duration.seconds(http),
          refresh: Duration.seconds(refresh),
          lease: Duration.seconds(lease),
          waiter: Duration.seconds(waiter)
        })
        assert.strictEqual(Result.isSuccess(made), http < refresh && refresh < lease && lease < waiter)
      }),
      { numRuns: 2000 }
    )
  })

  it("say which two are in the wrong order", () => {
    const made = Deadlines.make({ http: "30 seconds", refresh: "45 seconds", lease: "45 seconds", waiter: "1 minute" })
    assert.strictEqual(
      Result.isFailure(made) && made.failure.message,
      "The refresh deadline must be shorter than the lease deadline"
    )
  })
})
