import { Context, Duration, Result, Schema } from "effect"
import { outOfOrder } from "./internal/order.ts"
import { longestLease } from "./StoredTime.ts"

/** Error of deadlines in the wrong order. */
export class DeadlinesOutOfOrder extends Schema.TaggedError<DeadlinesOutOfOrder>("valetkey/DeadlinesOutOfOrder")(
  "DeadlinesOutOfOrder",
  { shorter: Schema.String, longer: Schema.String }
) {
  override get message() {
    return `The ${this.shorter} deadline must be shorter than the ${this.longer} deadline`
  }
}

/** Long enough for one write to a store under load, short enough that nobody notices the death of an owner. */
const shortClaim = Duration.millis(500)

/** The deadlines of a refresh, in the only order that is safe: `http < refresh < lease < waiter`. Made by `make` alone. */
export class Deadlines {
  /** One request to a token endpoint. */
  readonly http: Duration.Duration
  /** Redemption and storing of its result. */
  readonly refresh: Duration.Duration
  /**
   * How long a claim is held before it is marked as sent. Nothing has left then, so anybody may take over at its end
   * (ADR 0025). Never longer than the lease.
   */
  readonly claim: Duration.Duration
  /**
   * How long the right to redeem is held once the request may have left; no longer than `StoredTime.longestLease`. A crashed
   * owner blocks others no longer than this.
   */
  readonly lease: Duration.Duration
  /** How long a caller waits for somebody else's refresh before it is told to retry later. */
  readonly waiter: Duration.Duration

  private constructor(
    http: Duration.Duration,
    refresh: Duration.Duration,
    lease: Duration.Duration,
    waiter: Duration.Duration,
    claim: Duration.Duration
  ) {
    this.http = http
    this.refresh = refresh
    this.lease = lease
    this.waiter = waiter
    this.claim = claim
  }

  /** Builds deadlines, or says which two are in the wrong order. */
  static make(input: {
    readonly http: Duration.Input
    readonly refresh: Duration.Input
    readonly lease: Duration.Input
    readonly waiter: Duration.Input
    /** Default 500 ms, or the lease if that is shorter. */
    readonly claim?: Duration.Input | undefined
  }): Result.Result<Deadlines, DeadlinesOutOfOrder> {
    const steps = [
      ["http", Duration.fromInputUnsafe(input.http)],
      ["refresh", Duration.fromInputUnsafe(input.refresh)],
      ["lease", Duration.fromInputUnsafe(input.lease)],
      ["waiter", Duration.fromInputUnsafe(input.waiter)]
    ] as const
    const found = outOfOrder(steps)
    if (found !== undefined) return Result.fail(new DeadlinesOutOfOrder(found))
    const [[, http], [, refresh], [, lease], [, waiter]] = steps
    // A store takes a longer one for that of a clock which was set back.
    if (Duration.isGreaterThan(lease, longestLease)) {
      return Result.fail(new DeadlinesOutOfOrder({ shorter: "lease", longer: "longest lease" }))
    }
    const claim = Duration.min(input.claim === undefined ? shortClaim : Duration.fromInputUnsafe(input.claim), lease)
    return Result.succeed(new Deadlines(http, refresh, lease, waiter, claim))
  }

  /** 30 s for the request, 45 s with storing, 60 s of lease, 75 s of waiting. */
  static readonly standard: Deadlines = Result.getOrThrow(
    Deadlines.make({ http: "30 seconds", refresh: "45 seconds", lease: "60 seconds", waiter: "75 seconds" })
  )
}

/** The deadlines of this process. The standard ones, unless a test provides others. */
export const DeadlinesInForce = Context.Reference<Deadlines>("@valetkey/domain/DeadlinesInForce", {
  defaultValue: () => Deadlines.standard
})
