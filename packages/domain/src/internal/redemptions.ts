import { Cause, Clock, Duration, Effect, Metric, Result } from "effect"
import type { AccessTokenError } from "../AccessToken.ts"
import { isSame } from "../Account.ts"
import { AuthorizationServer, RedemptionError } from "../AuthorizationServer.ts"
import * as Checkpoint from "../Checkpoint.ts"
import type { Connection } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import type { Credentials } from "../Credentials.ts"
import type { Deadlines } from "../Deadlines.ts"
import * as Instruments from "../Instruments.ts"
import { storingTime } from "./insisting.ts"
import type { KeptResults } from "./keptResults.ts"
import { type Pass, shownBy } from "./pacer.ts"
import { makeRefreshFailures } from "./refreshFailures.ts"
import { makeRefreshResults } from "./refreshResults.ts"
import type { RefreshSecrets, SecretsOfRefresh } from "./refreshSecrets.ts"
import { again, overtaken, type Step } from "./refreshStep.ts"

/** A connection whose redemption was claimed. */
export interface Claimed {
  readonly connection: Connection
  readonly fence: number
  /** How long the claim lasts by itself. */
  readonly lease: Duration.Duration
  /** Undefined where they are still to be opened. */
  readonly secrets: RefreshSecrets | undefined
  readonly pass: Pass
}

/** What it takes to send the request. */
interface Redemption extends Claimed {
  readonly secrets: RefreshSecrets
}

/** Builds one redemption from the claim on: marked as sent, sent, settled. Nobody interrupts it but at the waits it names. */
export const makeRedemptions = Effect.fnUntraced(function*({ deadlines, fork, kept, secretsOf }: {
  readonly deadlines: Deadlines
  readonly kept: KeptResults
  readonly secretsOf: SecretsOfRefresh
  readonly fork: (effect: Effect.Effect<void>) => Effect.Effect<void>
}) {
  const connections = yield* ConnectionStore
  const server = yield* AuthorizationServer
  const failures = yield* makeRefreshFailures(deadlines)
  const store = yield* makeRefreshResults({ deadlines, failures, fork, kept })

  const settle = (
    { connection, fence, secrets }: Redemption,
    answer: Result.Result<Credentials, RedemptionError>
  ): Effect.Effect<Step, AccessTokenError> => {
    if (Result.isFailure(answer)) return failures.settle(connection, fence, secrets, answer.failure)
    return secrets.account !== undefined && answer.success.account !== undefined &&
        !isSame(secrets.account, answer.success.account)
      ? failures.refuseStranger(connection, fence, secrets)
      : store(connection, secrets, answer.success)
  }

  /** The one request. */
  const ask = ({ grant }: Connection, { authority, clientSecret, proofKey, refreshToken }: RefreshSecrets) =>
    refreshToken === undefined
      ? server.obtain(grant, { authority, clientSecret })
      : server.refresh(grant, { clientSecret, proofKey, refreshToken })

  const send = ({ connection, secrets }: Redemption) =>
    ask(connection, secrets).pipe(
      Effect.timeoutOrElse({
        duration: deadlines.http,
        orElse: () => Effect.fail(new RedemptionError({ reason: { _tag: "UnknownOutcome" } }))
      }),
      Effect.interruptible,
      Effect.result
    )

  const redeem = Effect.fnUntraced(function*(claimed: Claimed): Effect.fn.Return<Step, AccessTokenError> {
    const { connection, fence, lease, pass } = claimed
    const { epoch, generation, key } = connection
    yield* Checkpoint.reach("refresh.claimed")
    const redemption: Redemption = {
      ...claimed,
      secrets: claimed.secrets ??
        (yield* Effect.onError(
          Effect.interruptible(secretsOf.open(connection)),
          (cause) => {
            const giving = failures.giveBackBare(connection, fence, lease)
            // Nobody waits for what is interrupted, and nothing may be begun that the end of the process does not await.
            return Cause.hasInterrupts(cause) ? giving : fork(giving)
          }
        ))
    }
    const marking = yield* Clock.monotonicTimeNanos
    const marked = yield* connections.markSent(key, { generation, epoch, fence, lease: deadlines.lease }).pipe(
      // Whatever the store made of it, nothing was sent.
      Effect.tapError(() => failures.giveBack(connection, fence))
    )
    if (!marked) return overtaken
    yield* Checkpoint.reach("refresh.sent")
    const elapsed = Duration.nanos((yield* Clock.monotonicTimeNanos) - marking)
    if (
      Duration.isGreaterThanOrEqualTo(Duration.sum(elapsed, deadlines.refresh), deadlines.lease) ||
      !(yield* pass.isGood)
    ) {
      // A pause ate the lease or the slot: somebody else may take over, so nothing may leave from here.
      yield* failures.giveBack(connection, fence)
      return again
    }
    const answer = yield* send(redemption)
    yield* Checkpoint.reach("refresh.response_received")
    const shown = shownBy(answer)
    // Whoever is next must find the pause that a failure asks for; the end of the round releases after it is recorded.
    if (shown._tag === "Answered") yield* pass.release
    // What was redeemed comes first: nothing stands between its arrival and the spool.
    return yield* Effect.ensuring(
      settle(redemption, answer),
      pass.answered(shown).pipe(Effect.timeoutOption(storingTime(deadlines)), Effect.interruptible)
    )
  })

  return (claimed: Claimed): Effect.Effect<Step, AccessTokenError> => Effect.uninterruptible(timed(redeem(claimed)))
})

/** Observes how long a redemption took, however it ended. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const begun = yield* Clock.monotonicTimeNanos
    return yield* Effect.onExit(effect, () =>
      Effect.flatMap(Clock.monotonicTimeNanos, (ended) =>
        Metric.update(Instruments.refreshDuration, Number(ended - begun) / 1e9)))
  })
