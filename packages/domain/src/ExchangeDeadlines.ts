import { Duration, Result } from "effect"
import { DeadlinesOutOfOrder } from "./Deadlines.ts"
import { outOfOrder } from "./internal/order.ts"

/** The three deadlines of a code exchange, in the only order that is safe: `exchange < settle < lease`. Made by `make` alone. */
export class ExchangeDeadlines {
  /** The request that carries the code. */
  readonly exchange: Duration.Duration
  /** The request and the storing of what came of it. */
  readonly settle: Duration.Duration
  /** How long the claim of a flow holds. One that crashed keeps its person waiting no longer than this. */
  readonly lease: Duration.Duration

  private constructor(exchange: Duration.Duration, settle: Duration.Duration, lease: Duration.Duration) {
    this.exchange = exchange
    this.settle = settle
    this.lease = lease
  }

  /** What is left for storing when the request took all of its time. */
  get storing(): Duration.Duration {
    return Duration.subtract(this.settle, this.exchange)
  }

  /** What there is for the keys that verify a signed response, before all of the rest, within the lease. */
  get verifying(): Duration.Duration {
    return Duration.divideUnsafe(Duration.subtract(this.lease, this.settle), 2)
  }

  /** Builds deadlines, or says which two are in the wrong order. */
  static make(input: {
    readonly exchange: Duration.Input
    readonly settle: Duration.Input
    readonly lease: Duration.Input
  }): Result.Result<ExchangeDeadlines, DeadlinesOutOfOrder> {
    const exchange = Duration.fromInputUnsafe(input.exchange)
    const settle = Duration.fromInputUnsafe(input.settle)
    const lease = Duration.fromInputUnsafe(input.lease)
    const found = outOfOrder([["exchange", exchange], ["settle", settle], ["lease", lease]])
    return found === undefined
      ? Result.succeed(new ExchangeDeadlines(exchange, settle, lease))
      : Result.fail(new DeadlinesOutOfOrder(found))
  }

  /** 45 s for the request, 65 s with storing, 75 s of lease, which leaves 5 s to verify. */
  static readonly standard: ExchangeDeadlines = Result.getOrThrow(
    ExchangeDeadlines.make({ exchange: "45 seconds", settle: "65 seconds", lease: "75 seconds" })
  )
}
