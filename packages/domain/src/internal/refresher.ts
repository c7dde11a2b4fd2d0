import { Clock, DateTime, Deferred, Duration, Effect, Exit, Metric } from "effect"
import {
  type AccessToken,
  type AccessTokenError,
  activeConnection,
  openAccessToken,
  TokenError
} from "../AccessToken.ts"
import { Cipher } from "../Cipher.ts"
import type { Connection, ConnectionKey, ReauthReason } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { isFresh } from "../Credentials.ts"
import type { Deadlines } from "../Deadlines.ts"
import * as Instruments from "../Instruments.ts"
import type { RedemptionCap } from "../Pacing.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { makeAuditing } from "./auditing.ts"
import { brakeOf } from "./brake.ts"
import { makeKeptResults } from "./keptResults.ts"
import { makePacer } from "./pacer.ts"
import { makeCallersPatience } from "./patience.ts"
import { makeRedemptionRules } from "./redemptionRules.ts"
import { makeRedemptions } from "./redemptions.ts"
import { makeRefreshSecrets, type RefreshSecrets, usedBy } from "./refreshSecrets.ts"
import { again, done, type Step } from "./refreshStep.ts"
import { makeSpooledResults } from "./spooledResults.ts"
import type { StoreAbsence } from "./storeAbsence.ts"

/** Backstop for a lost signal while another replica redeems. */
const pollInterval = Duration.millis(500)
/** A pause shorter than this is waited out; a longer one is told to the caller. */
const shortPause = Duration.seconds(2)

const inProgress = Effect.fail(new TokenError({ code: "refresh_in_progress", retryAfter: Duration.seconds(1) }))

/** How far one round may go. */
interface Bounds {
  readonly claimFor: Duration.Duration
  readonly giveUpAt: bigint
  readonly patientUntil: bigint
  readonly renewing: Connection | undefined
}

/** Builds the refresh of one connection: claim, send, store, all fenced. Meant to run in a fiber that the application owns. */
export const makeRefresher = Effect.fnUntraced(function*(options: {
  readonly deadlines: Deadlines
  readonly caps: ReadonlyArray<RedemptionCap>
  readonly fork: (effect: Effect.Effect<void>) => Effect.Effect<void>
  /** Done when the application closes: from then on nothing is claimed. */
  readonly closing: Deferred.Deferred<void>
  readonly absence: StoreAbsence
}) {
  const { absence, closing, deadlines } = options
  const kept = makeKeptResults()
  const connections = yield* ConnectionStore
  const cipher = yield* Cipher
  const signals = yield* Signals
  const audit = yield* makeAuditing
  const pacer = yield* makePacer(options)
  const adopt = yield* makeSpooledResults(kept)
  const secretsOf = yield* makeRefreshSecrets((key, minValidity) => refresh(key, minValidity))
  const rulesOf = yield* makeRedemptionRules
  const withPatience = yield* makeCallersPatience
  const redeem = yield* makeRedemptions({ ...options, kept, secretsOf })

  /** Tells of a loss that the row has recorded already. The event is worth having without a fingerprint, whatever ends the opening. */
  const tellLoss = (connection: Connection, reason: ReauthReason, secrets: RefreshSecrets | undefined) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const opened = secrets === undefined
          ? yield* Effect.exit(restore(Effect.timeout(secretsOf.openToken(connection), deadlines.claim)))
          : Exit.succeed(secrets)
        const used = Exit.isSuccess(opened) ? usedBy(opened.value) : undefined
        yield* audit(connection.key, "connection.needs_consent", reason, connection.generation, used)
      })
    )

  /**
   * Goes round until there is a fresh token or a reason why there is none; no longer than the waiter deadline. It may begin
   * with the row that its caller has read: if that is not the latest any more, the claim says so.
   */
  const refresh = Effect.fn("AccessTokens.refresh")(function*(
    key: ConnectionKey,
    minValidity: Duration.Duration,
    { renewing, seen }: {
      /** What was read already. */
      readonly seen?: Connection
      /** Credentials that are to be replaced, however fresh they are. */
      readonly renewing?: Connection | undefined
    } = {}
  ): Effect.fn.Return<AccessToken, AccessTokenError> {
    yield* Effect.annotateCurrentSpan({ "valetkey.tenant": key.tenant, "valetkey.server": key.server })
    const begun = yield* Clock.monotonicTimeNanos
    const giveUpAt = begun + Duration.toNanosUnsafe(deadlines.waiter)
    const patientUntil = begun + Duration.toNanosUnsafe(shortPause)
    let claimFor = deadlines.claim
    let known = seen
    while ((yield* Clock.monotonicTimeNanos) < giveUpAt) {
      const step: Step = yield* round(key, known, minValidity, { claimFor, giveUpAt, patientUntil, renewing })
      if (step._tag === "Done") return step.token
      known = undefined
      // Replicas on a store that is slower than their claims would take turns for ever without one that gets to send.
      if (step.overtaken) claimFor = Duration.min(Duration.times(claimFor, 2), deadlines.lease)
    }
    return yield* inProgress
  })

  /** One look at the row and what follows from it. It listens before it looks or claims, so that no signal falls in between. */
  const round = Effect.fnUntraced(function*(
    key: ConnectionKey,
    known: Connection | undefined,
    minValidity: Duration.Duration,
    { claimFor, giveUpAt, patientUntil, renewing }: Bounds
  ) {
    const wake = yield* signals.subscribe(connectionTopic(key))
    const connection = known ?? (yield* activeConnection(key, yield* absence.watch(connections.get(key))))
    const now = yield* DateTime.now
    const isRenewed = renewing?.epoch !== connection.epoch || renewing.generation !== connection.generation
    if (isRenewed && isFresh(connection.credentials, minValidity, now)) {
      if (connection.rejected) {
        const braked = brakeOf(connection, now)
        if (braked !== undefined) return yield* braked
      } else {
        const token = yield* openAccessToken(cipher, connection)
        if (token !== undefined) return done(token)
      }
    }
    if (Deferred.isDoneUnsafe(closing)) return yield* inProgress
    let secrets = yield* secretsOf.beforeClaim(connection)
    if (yield* adopt(connection)) return again
    let pass = yield* pacer.admitted(connection)
    if (pass === undefined) {
      const patience = Duration.nanos(giveUpAt - (yield* Clock.monotonicTimeNanos))
      // Whoever waits here holds no lease, and what somebody else has done meanwhile ends the wait.
      pass = yield* Effect.raceAllFirst([
        pacer.admit(connection, patientUntil),
        Effect.as(wake, undefined),
        Effect.as(Deferred.await(closing), undefined),
        Effect.as(Effect.sleep(patience), undefined)
      ])
    }
    if (pass === undefined || Deferred.isDoneUnsafe(closing)) return again
    // What was shown before a wait may be long ago after it.
    secrets ??= yield* secretsOf.beforeClaim(connection)
    const claim = yield* absence.watch(connections.claim(key, {
      generation: connection.generation,
      epoch: connection.epoch,
      ...rulesOf(connection),
      leavesSent: yield* absence.isRecent,
      lease: claimFor
    }))
    yield* Metric.update(Instruments.leaseClaimed(claim._tag.toLowerCase()), 1)
    // Whoever waits for somebody else keeps nobody from asking.
    if (claim._tag !== "Claimed") yield* pass.abandon
    switch (claim._tag) {
      case "Moved":
        if (claim.lost !== undefined) {
          yield* tellLoss(connection, claim.lost, secrets)
        }
        return again
      case "Busy":
        yield* withPatience(wake, {
          duration: Duration.min(claim.remaining, pollInterval),
          orElse: () => Effect.void
        })
        return again
      case "Paced":
        if (Duration.isGreaterThan(claim.remaining, shortPause)) {
          return yield* new TokenError({ code: "authorization_server_unavailable", retryAfter: claim.remaining })
        }
        yield* Effect.sleep(claim.remaining)
        return again
      case "Claimed":
        return yield* redeem({ connection, fence: claim.fence, lease: claimFor, secrets, pass })
    }
  }, Effect.scoped)

  return { refresh }
})
