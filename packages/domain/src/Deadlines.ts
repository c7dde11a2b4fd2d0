import { Duration, Result, Schema } from "effect"
import { outOfOrder } from "./internal/order.ts"

/** Error of deadlines in the wrong order. */
export class DeadlinesOutOfOrder extends Schema.TaggedError<DeadlinesOutOfOrder>("valetkey/DeadlinesOutOfOrder")(
  "DeadlinesOutOfOrder",
  { shorter: Schema.String, longer: Schema.String }
) {
  override get message() {
    return `The ${this.shorter} deadline must be shorter than the ${this.longer} deadline`
  }
}

/** The four deadlines of a refresh, in the only order that is safe: `http < refresh < lease < waiter`. Made by `make` alone. */
export class Deadlines {
  /** One request to a token endpoint. */
  readonly http: Duration.Duration
  /** Redemption and storing of its result. */
  readonly refresh: Duration.Duration
  /** How long the right to redeem is held. A crashed owner blocks others no longer than this. */
  readonly lease: Duration.Duration
  /** How long a caller waits for somebody else's refresh before it is told to retry later. */
  readonly waiter: Duration.Duration

  private constructor(
    http: Duration.Duration,
    refresh: Duration.Duration,
    lease: Duration.Duration,
    waiter: Duration.Duration
  ) {
    this.http = http
    this.refresh = refresh
    this.lease = lease
    this.waiter = waiter
  }

  /** Builds deadlines, or says which two are in the wrong order. */
  static make(input: {
    readonly http: Duration.Input
    readonly refresh: Duration.Input
    readonly lease: Duration.Input
    readonly waiter: Duration.Input
  }): Result.Result<Deadlines, DeadlinesOutOfOrder> {
    const steps = [
      ["http", Duration.fromInputUnsafe(input.http)],
      ["refresh", Duration.fromInputUnsafe(input.refresh)],
      ["lease", Duration.fromInputUnsafe(input.lease)],
      ["waiter", Duration.fromInputUnsafe(input.waiter)]
    ] as const
    const found = outOfOrder(steps)
    return found === undefined
      ? Result.succeed(new Deadlines(steps[0][1], steps[1][1], steps[2][1], steps[3][1]))
      : Result.fail(new DeadlinesOutOfOrder(found))
  }

  /** 30 s for the request, 45 s with storing, 60 s of lease, 75 s of waiting. */
  static readonly standard: Deadlines = Result.getOrThrow(
    Deadlines.make({ http: "30 seconds", refresh: "45 seconds", lease: "60 seconds", waiter: "75 seconds" })
  )
}
