import { Clock, DateTime, Deferred, Duration, Effect, Metric, Option, Redacted, Result, Schedule } from "effect"
import {
  type AccessToken,
  type AccessTokenError,
  activeConnection,
  destinationOf,
  openAccessToken,
  TokenError
} from "../AccessToken.ts"
import { type Account, isSame } from "../Account.ts"
import { AuthorizationServer, RedemptionError } from "../AuthorizationServer.ts"
import * as Checkpoint from "../Checkpoint.ts"
import { Cipher } from "../Cipher.ts"
import { type Connection, type ConnectionKey, Generation, type ReauthReason, sealContext } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { type Credentials, isFresh, mergeRefreshed } from "../Credentials.ts"
import type { Deadlines } from "../Deadlines.ts"
import { Entropy } from "../Entropy.ts"
import { Instance } from "../Instance.ts"
import * as Instruments from "../Instruments.ts"
import type { RedemptionCap } from "../Pacing.ts"
import type { RefreshFailure } from "../Refresh.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import type { RedemptionPolicy } from "../Server.ts"
import { ServerStore } from "../ServerStore.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { Spool, type SpoolEntry } from "../Spool.ts"
import { openAccount } from "./accounts.ts"
import { makeAuditing } from "./auditing.ts"
import { brakeOf } from "./brake.ts"
import { makeClientSecrets } from "./clientSecrets.ts"
import { makeLateResults } from "./lateResults.ts"
import { makePacer, type Pass, shownBy } from "./pacer.ts"
import { makeRefusedClients } from "./refusedClients.ts"
import { sealCredentials } from "./sealing.ts"

/** Backstop for a lost signal while another replica redeems. */
const pollInterval = Duration.millis(500)
/** A pause shorter than this is waited out; a longer one is told to the caller. */
const shortPause = Duration.seconds(2)
const transientDelay = Duration.seconds(2)
const misconfiguredDelay = Duration.seconds(60)
const storeRetries = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")])

type Step =
  | { readonly _tag: "Done"; readonly token: AccessToken }
  | { readonly _tag: "Again"; readonly overtaken?: true }

const inProgress = Effect.fail(new TokenError({ code: "refresh_in_progress", retryAfter: Duration.seconds(1) }))

const again: Step = { _tag: "Again" }
/** The claim ended before it could be marked as sent, and somebody else has one now. */
const overtaken: Step = { _tag: "Again", overtaken: true }

/** Observes how long a redemption took, however it ended. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const begun = yield* Clock.monotonicTimeNanos
    return yield* Effect.onExit(effect, () =>
      Effect.flatMap(Clock.monotonicTimeNanos, (ended) =>
        Metric.update(Instruments.refreshDuration, Number(ended - begun) / 1e9)))
  })

/** Builds the refresh of one connection: claim, send, store, all fenced. Meant to run in a fiber that the application owns. */
export const makeRefresher = Effect.fnUntraced(function*(options: {
  readonly deadlines: Deadlines
  readonly caps: ReadonlyArray<RedemptionCap>
  readonly fork: (effect: Effect.Effect<void>) => Effect.Effect<void>
  /** Done when the application closes: from then on nothing is claimed. */
  readonly closing: Deferred.Deferred<void>
}) {
  const { closing, deadlines } = options
  const connections = yield* ConnectionStore
  const dropLate = yield* makeLateResults
  const server = yield* AuthorizationServer
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const signals = yield* Signals
  const spool = yield* Spool
  const audit = yield* makeAuditing
  const admit = yield* makePacer(options)
  const clientSecretOf = makeClientSecrets(cipher, yield* ServerStore)
  const forgetRefused = makeRefusedClients(yield* RegistrationStore)
  const instance = yield* Effect.serviceOption(Instance)

  /** What another instance may have redeemed as well gets a second attempt, and its failure says why it is no surprise. */
  const rulesOf = ({ credentials, grant }: Connection): {
    readonly policy: RedemptionPolicy
    readonly lost?: ReauthReason
  } => {
    const before = Option.isSome(instance) ? instance.value.restoredBefore() : undefined
    return before !== undefined && DateTime.isLessThan(credentials.issuedAt, before)
      ? { policy: "retry-once", lost: "restored_credentials" }
      : { policy: grant.redemptionPolicy }
  }

  const storing = Duration.subtract(deadlines.refresh, deadlines.http)

  /** Goes round until there is a fresh token or a reason why there is none; no longer than the waiter deadline. */
  const refresh = Effect.fn("AccessTokens.refresh")(function*(key: ConnectionKey, minValidity: Duration.Duration) {
    yield* Effect.annotateCurrentSpan({ "valetkey.tenant": key.tenant, "valetkey.server": key.server })
    const begun = yield* Clock.monotonicTimeNanos
    const giveUpAt = begun + Duration.toNanosUnsafe(deadlines.waiter)
    const patientUntil = begun + Duration.toNanosUnsafe(shortPause)
    let claimFor = deadlines.claim
    while ((yield* Clock.monotonicTimeNanos) < giveUpAt) {
      const step = yield* round(key, minValidity, { claimFor, giveUpAt, patientUntil })
      if (step._tag === "Done") return step.token
      // Replicas on a store that is slower than their claims would take turns for ever without one that gets to send.
      if (step.overtaken) claimFor = Duration.min(Duration.times(claimFor, 2), deadlines.lease)
    }
    return yield* inProgress
  })

  /** One look at the row and what follows from it. It listens before it looks, so that no signal falls in between. */
  const round = Effect.fnUntraced(function*(
    key: ConnectionKey,
    minValidity: Duration.Duration,
    { claimFor, giveUpAt, patientUntil }: {
      readonly claimFor: Duration.Duration
      readonly giveUpAt: bigint
      readonly patientUntil: bigint
    }
  ) {
    const wake = yield* signals.subscribe(connectionTopic(key))
    const connection = yield* activeConnection(yield* connections.get(key))
    const now = yield* DateTime.now
    if (isFresh(connection.credentials, minValidity, now)) {
      if (!connection.rejected) {
        return { _tag: "Done", token: yield* openAccessToken(cipher, connection) } satisfies Step
      }
      const braked = brakeOf(connection, now)
      if (braked !== undefined) return yield* braked
    }
    if (Deferred.isDoneUnsafe(closing)) return yield* inProgress
    const secrets = yield* openSecrets(connection)
    if (yield* adopt(connection)) return again
    const patience = Duration.nanos(giveUpAt - (yield* Clock.monotonicTimeNanos))
    // Whoever waits here holds no lease, and what somebody else has done meanwhile ends the wait.
    const pass = yield* Effect.raceAllFirst([
      admit(connection, patientUntil),
      Effect.as(wake, undefined),
      Effect.as(Deferred.await(closing), undefined),
      Effect.as(Effect.sleep(patience), undefined)
    ])
    if (pass === undefined || Deferred.isDoneUnsafe(closing)) return again
    const claim = yield* connections.claim(key, {
      generation: connection.generation,
      epoch: connection.epoch,
      ...rulesOf(connection),
      lease: claimFor
    })
    yield* Metric.update(Instruments.leaseClaimed(claim._tag.toLowerCase()), 1)
    // Whoever waits for somebody else keeps nobody from asking.
    if (claim._tag !== "Claimed") yield* pass.abandon
    switch (claim._tag) {
      case "Moved":
        if (claim.lost !== undefined) {
          yield* audit(key, "connection.needs_consent", claim.lost, connection.generation, usedBy(secrets))
        }
        return again
      case "Busy":
        yield* Effect.raceFirst(wake, Effect.sleep(Duration.min(claim.remaining, pollInterval)))
        return again
      case "Paced":
        if (Duration.isGreaterThan(claim.remaining, shortPause)) {
          return yield* new TokenError({ code: "authorization_server_unavailable", retryAfter: claim.remaining })
        }
        yield* Effect.sleep(claim.remaining)
        return again
      case "Claimed":
        return yield* Effect.uninterruptible(timed(redeem(connection, claim.fence, secrets, pass)))
    }
  }, Effect.scoped)

  /** What this process redeemed and the store could not take yet comes before another redemption. */
  const adopt = Effect.fnUntraced(function*({ epoch, generation, key }: Connection) {
    const entries = yield* Effect.orElseSucceed(spool.list, () => [])
    const entry = entries.find((one) => one.key.path === key.path && one.epoch === epoch && one.redeemed === generation)
    if (entry === undefined) return false
    const { credentials, id: resultId } = entry
    // What is too late by now is for `Housekeeping.replay` to settle.
    if (yield* connections.commit(key, { generation, epoch, credentials, resultId })) {
      yield* signals.notify(connectionTopic(key))
      yield* Effect.ignore(spool.remove(resultId))
    }
    return true
  })

  interface Secrets {
    readonly refreshToken: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    /** Whose the credentials are, where that is known. */
    readonly account: Account | undefined
  }

  /** Opens what a redemption needs before anything is claimed: without the key nothing is sent and nothing is marked. */
  const openSecrets = Effect.fnUntraced(function*(connection: Connection) {
    const { credentials, epoch, generation, key } = connection
    if (credentials.refreshToken === undefined) {
      return yield* new TokenError({ code: "reauthorization_required", reason: "no_refresh_token" })
    }
    // Sealing must work as well: a token that cannot be stored must not be redeemed.
    yield* cipher.seal(sealContext(key, epoch, "access_token", generation), Redacted.make(""))
    const secrets: Secrets = {
      account: yield* openAccount(cipher, connection),
      refreshToken: yield* cipher.open(sealContext(key, epoch, "refresh_token", generation), credentials.refreshToken),
      clientSecret: yield* clientSecretOf(connection)
    }
    return secrets
  })

  const redeem = Effect.fnUntraced(function*(connection: Connection, fence: number, secrets: Secrets, pass: Pass) {
    const { epoch, generation, key } = connection
    yield* Checkpoint.reach("refresh.claimed")
    const marking = yield* Clock.monotonicTimeNanos
    const marked = yield* connections.markSent(key, { generation, epoch, fence, lease: deadlines.lease }).pipe(
      // Whatever the store made of it, nothing was sent.
      Effect.tapError(() => fail(connection, fence, { _tag: "Retryable", delay: Duration.zero }))
    )
    if (!marked) return overtaken
    yield* Checkpoint.reach("refresh.sent")
    const elapsed = Duration.nanos((yield* Clock.monotonicTimeNanos) - marking)
    if (
      Duration.isGreaterThanOrEqualTo(Duration.sum(elapsed, deadlines.refresh), deadlines.lease) ||
      !(yield* pass.isGood)
    ) {
      // A pause ate the lease or the slot: somebody else may take over, so nothing may leave from here.
      yield* fail(connection, fence, { _tag: "Retryable", delay: Duration.zero })
      return again
    }
    const answer = yield* server.refresh(connection.grant, secrets).pipe(
      Effect.timeoutOrElse({
        duration: deadlines.http,
        orElse: () => Effect.fail(new RedemptionError({ reason: { _tag: "UnknownOutcome" } }))
      }),
      Effect.interruptible,
      Effect.result
    )
    yield* Checkpoint.reach("refresh.response_received")
    const shown = shownBy(answer)
    // Whoever is next must find the pause that a failure asks for; the end of the round releases after it is recorded.
    if (shown._tag === "Answered") yield* pass.release
    // What was redeemed comes first: nothing stands between its arrival and the spool.
    return yield* Effect.ensuring(
      settle(connection, fence, secrets, answer),
      pass.answered(shown).pipe(Effect.timeoutOption(storing), Effect.interruptible)
    )
  })

  const settle = (
    connection: Connection,
    fence: number,
    secrets: Secrets,
    answer: Result.Result<Credentials, RedemptionError>
  ): Effect.Effect<Step, AccessTokenError> => {
    if (Result.isFailure(answer)) return settleFailure(connection, fence, secrets, answer.failure)
    return secrets.account !== undefined && answer.success.account !== undefined &&
        !isSame(secrets.account, answer.success.account)
      ? refuseStranger(connection, fence, secrets)
      : store(connection, secrets, answer.success)
  }

  /**
   * Ends the use of a connection whose refresh was answered with credentials of another account
   * (OpenID Connect Core 1.0 §12.2). They are dropped: nobody here asked for them, and revoking them could end what their
   * owner has. The refresh token stays, so that a disconnect can end the grant.
   */
  const refuseStranger = Effect.fnUntraced(function*(connection: Connection, fence: number, secrets: Secrets) {
    const { generation, key } = connection
    yield* Effect.logError("a refresh was answered with the credentials of another account", {
      code: "account_changed",
      server: key.server,
      generation
    })
    yield* audit(key, "token.refresh_failed", "account_changed", generation, usedBy(secrets))
    const failure = { _tag: "Terminal", reason: "account_changed" } as const
    yield* tellLoss(connection, secrets, yield* fail(connection, fence, failure, { lost: "account_changed" }))
    return again
  })

  /** Seals, spools and commits by generation and epoch. A result that lost is dropped; one of a connection that ended is revoked. */
  const store = Effect.fnUntraced(function*(connection: Connection, secrets: Secrets, answer: Credentials) {
    const { epoch, generation, key } = connection
    const next = Generation.make(generation + 1)
    const merged = mergeRefreshed({ ...connection.credentials, refreshToken: secrets.refreshToken }, answer)
    const credentials = yield* sealCredentials(cipher, { key, epoch, generation: next }, merged)
    const resultId = yield* entropy.id
    const { clientSecret, grant } = connection
    const entry: SpoolEntry = { id: resultId, key, epoch, redeemed: generation, credentials, grant, clientSecret }
    const spooled = yield* spool.append(entry).pipe(
      Effect.as(true),
      Effect.catchCause((cause) => Effect.as(Effect.logWarning("refreshed credentials not spooled", cause), false))
    )
    yield* Checkpoint.reach("refresh.before_commit")
    const committed = yield* connections.commit(key, { generation, epoch, credentials, resultId }).pipe(
      // A failed commit may have happened; its result id tells.
      Effect.catch((error) =>
        Effect.flatMap(
          connections.isCommitted(key, resultId),
          (landed) => landed ? Effect.succeed(true) : Effect.fail(error)
        )
      ),
      Effect.retry(storeRetries),
      Effect.timeoutOption(storing),
      Effect.interruptible
    )
    yield* Checkpoint.reach("refresh.after_commit")
    const isWhole = Redacted.value(merged.accessToken) !== ""
    const token: AccessToken = {
      accessToken: merged.accessToken,
      tokenType: merged.tokenType,
      expiresAt: merged.expiresAt,
      scopes: merged.scopes,
      generation: next,
      destination: destinationOf(connection.grant)
    }
    if (committed._tag === "None") {
      yield* Effect.logError("refreshed credentials not committed; they stay in the spool", { spooled })
      if (!isWhole) return yield* incomplete
      return { _tag: "Done", token } satisfies Step
    }
    if (!committed.value && !(yield* connections.isCommitted(key, resultId))) {
      yield* dropLate(entry).pipe(
        Effect.retry(storeRetries),
        Effect.timeout(storing),
        Effect.interruptible,
        Effect.andThen(Effect.ignore(spool.remove(resultId))),
        Effect.catch((error) => Effect.logError("late credentials not revoked; they stay in the spool", error))
      )
      return again
    }
    yield* Effect.ignore(spool.remove(resultId))
    if (!isWhole) {
      yield* pause({ ...connection, generation: next })
      yield* audit(key, "token.refresh_failed", "no_access_token", next, usedBy(secrets))
      return yield* incomplete
    }
    yield* signals.notify(connectionTopic(key))
    yield* audit(key, "token.refreshed", "ok", next, usedBy(secrets))
    return { _tag: "Done", token } satisfies Step
  })

  /** Keeps everybody from redeeming for a while: a provider that forgets the access token may do so every time. */
  const pause = Effect.fnUntraced(function*(connection: Connection) {
    const { epoch, generation, key } = connection
    const lease = deadlines.lease
    const claim = yield* connections.claim(key, { generation, epoch, ...rulesOf(connection), lease })
    if (claim._tag !== "Claimed") return
    yield* fail(connection, claim.fence, { _tag: "Retryable", delay: misconfiguredDelay })
  }, Effect.catch((error) => Effect.logWarning("pause after an answer without an access token not recorded", error)))

  const incomplete = Effect.fail(
    new TokenError({ code: "authorization_server_unavailable", retryAfter: misconfiguredDelay })
  )

  const settleFailure = (
    connection: Connection,
    fence: number,
    secrets: Secrets,
    error: RedemptionError
  ): Effect.Effect<Step, AccessTokenError> =>
    Effect.gen(function*() {
      yield* Effect.logWarning("refresh failed", error)
      yield* audit(
        connection.key,
        "token.refresh_failed",
        error.reason._tag,
        connection.generation,
        usedBy(secrets),
        "error" in error.reason ? error.reason.error : undefined
      )
      switch (error.reason._tag) {
        case "Terminal": {
          const reason = rulesOf(connection).lost ?? "refresh_token_rejected"
          yield* tellLoss(connection, secrets, yield* fail(connection, fence, { _tag: "Terminal", reason }))
          // The row says why the person is asked, or what a new consent has stored meanwhile.
          return again
        }
        case "Configuration":
          yield* forgetRefused(connection.grant, connection.key, error)
          yield* fail(connection, fence, { _tag: "Retryable", delay: misconfiguredDelay })
          return yield* new TokenError({ code: "client_misconfigured" })
        case "Transient": {
          const delay = error.reason.retryAfter ?? transientDelay
          yield* fail(connection, fence, { _tag: "Retryable", delay })
          return yield* new TokenError({ code: "authorization_server_unavailable", retryAfter: delay })
        }
        case "UnknownOutcome":
        case "UntrustedIdToken":
          yield* tellLoss(connection, secrets, yield* fail(connection, fence, { _tag: "UnknownOutcome" }))
          return again
      }
    })

  /** Records a failure while the lease is held; what cannot be recorded is settled when the lease ends. */
  const fail = (
    connection: Connection,
    fence: number,
    failure: RefreshFailure,
    rules: { readonly lost?: ReauthReason } = {}
  ) =>
    connections.fail(connection.key, {
      generation: connection.generation,
      epoch: connection.epoch,
      fence,
      ...rulesOf(connection),
      ...rules,
      failure
    }).pipe(
      Effect.retry(storeRetries),
      Effect.timeout(storing),
      Effect.interruptible,
      Effect.tap(signals.notify(connectionTopic(connection.key))),
      Effect.catch((error) => Effect.as(Effect.logError("failure of a refresh not recorded", error), false))
    )

  /** Tells why a person will be asked, if the failure that was recorded is the reason for it. */
  const tellLoss = Effect.fnUntraced(function*(
    { epoch, generation, key }: Connection,
    secrets: Secrets,
    recorded: boolean
  ) {
    if (!recorded) return
    const now = Option.getOrUndefined(yield* connections.get(key))
    if (now?.status._tag !== "needs_reauth" || now.epoch !== epoch || now.generation !== generation) return
    yield* audit(key, "connection.needs_consent", now.status.reason, generation, usedBy(secrets))
  }, Effect.catch((error) => Effect.logWarning("why a person is asked is not recorded", error)))

  const usedBy = ({ refreshToken }: Secrets) => ({ purpose: "refresh_token", value: refreshToken } as const)

  return { refresh }
})
