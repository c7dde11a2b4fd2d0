import { assert, describe, it } from "@effect/vitest"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { ExchangeDeadlines } from "@valetkey/domain/ExchangeDeadlines"
import { longestLease } from "@valetkey/domain/StoredTime"
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

describe("the lease", () => {
  it("is no longer than what a store takes for one that somebody wrote under the right clock", () => {
    const make = (lease: Duration.Input) =>
      Deadlines.make({ http: "30 seconds", refresh: "45 seconds", lease, waiter: "15 minutes" })
    assert.isTrue(Result.isSuccess(make(longestLease)))
    const made = make(Duration.sum(longestLease, Duration.millis(1)))
    assert.strictEqual(
      Result.isFailure(made) && made.failure.message,
      "The lease deadline must be shorter than the longest lease deadline"
    )
  })
})

describe("ExchangeDeadlines", () => {
  it("are made only in the order exchange < settle < lease", () => {
    fc.assert(
      fc.property(fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9)), ([exchange, settle, lease]) => {
        const made = ExchangeDeadlines.make({
          exchange: Duration.seconds(exchange),
          settle: Duration.seconds(settle),
          lease: Duration.seconds(lease)
        })
        assert.strictEqual(Result.isSuccess(made), exchange < settle && settle < lease)
      }),
      { numRuns: 1000 }
    )
  })

  it("leave time for storing what the request brought, and say which two are in the wrong order", () => {
    const { exchange, settle, storing } = ExchangeDeadlines.standard
    assert.isTrue(Duration.Equivalence(Duration.sum(exchange, storing), settle))
    const made = ExchangeDeadlines.make({ exchange: "45 seconds", settle: "75 seconds", lease: "75 seconds" })
    assert.strictEqual(
      Result.isFailure(made) && made.failure.message,
      "The settle deadline must be shorter than the lease deadline"
    )
  })
})
