import { Duration, Effect, Option } from "effect"
import { type AccessTokenError, TokenError } from "../AccessToken.ts"
import { isUnclear, type RedemptionError } from "../AuthorizationServer.ts"
import type { Connection, ReauthReason } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import type { Deadlines } from "../Deadlines.ts"
import type { RefreshFailure } from "../Refresh.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { makeAuditing } from "./auditing.ts"
import { makeInsisting } from "./insisting.ts"
import { makeOddRefusals } from "./oddRefusals.ts"
import { makeOwnRows } from "./ownRow.ts"
import { makeRedemptionRules } from "./redemptionRules.ts"
import { type RefreshSecrets, usedBy } from "./refreshSecrets.ts"
import { again, type Step } from "./refreshStep.ts"
import { makeRefusalReasons } from "./refusalReasons.ts"
import { makeRefusedClients } from "./refusedClients.ts"

const transientDelay = Duration.seconds(2)
/** How long a provider is left alone whose answers are of no use until somebody mends it. */
export const misconfiguredDelay = Duration.seconds(60)
/** How long the word of a person is not asked for again who is told to sign in, which may be done at any moment: no caller hears of it. */
const signInDelay = Duration.seconds(1)

/** Builds what becomes of a redemption that brought nothing. All of it is fenced: a loser marks nothing of the winner's. */
export const makeRefreshFailures = Effect.fnUntraced(function*(deadlines: Deadlines) {
  const connections = yield* ConnectionStore
  const rows = yield* makeOwnRows
  const signals = yield* Signals
  const audit = yield* makeAuditing
  const rulesOf = yield* makeRedemptionRules
  const forgetRefused = makeRefusedClients(yield* RegistrationStore)
  const reasonOf = yield* makeRefusalReasons
  const insist = makeInsisting(deadlines)
  const oddRefusals = makeOddRefusals()

  /** One try to write a failure; false when the claim is lost. */
  const write = (
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
    })

  /** Records a failure while the lease is held; what cannot be recorded is settled when the lease ends. False when lost. */
  const record = (
    connection: Connection,
    fence: number,
    failure: RefreshFailure,
    rules: { readonly lost?: ReauthReason } = {}
  ): Effect.Effect<boolean> =>
    insist(write(connection, fence, failure, rules)).pipe(
      Effect.tap(signals.notify(connectionTopic(connection.key))),
      Effect.catch((error) => Effect.as(Effect.logError("failure of a refresh not recorded", error), false))
    )

  /** Records that nothing was sent, so that anybody may begin at once. */
  const giveBack = (connection: Connection, fence: number): Effect.Effect<boolean> =>
    record(connection, fence, { _tag: "Retryable", delay: Duration.zero })

  /** The same of a claim that was not marked as sent: tried once, no longer than the claim lasts by itself. */
  const giveBackBare = (connection: Connection, fence: number, lease: Duration.Duration): Effect.Effect<void> =>
    write(connection, fence, { _tag: "Retryable", delay: Duration.zero }).pipe(
      Effect.timeout(lease),
      Effect.tap(signals.notify(connectionTopic(connection.key))),
      Effect.catchCause((cause) => Effect.logWarning("claim not given back, it ends by itself", cause)),
      Effect.asVoid
    )

  /** Tells why a person will be asked, if the failure that was recorded is the reason for it. */
  const tellLoss = Effect.fnUntraced(function*(
    { epoch, generation, key }: Connection,
    secrets: RefreshSecrets,
    recorded: boolean
  ) {
    if (!recorded) return
    const now = Option.getOrUndefined(yield* rows.get(key))
    if (now?.status._tag !== "needs_reauth" || now.epoch !== epoch || now.generation !== generation) return
    yield* audit(key, "connection.needs_consent", now.status.reason, generation, usedBy(secrets))
  }, Effect.catch((error) => Effect.logWarning("why a person is asked is not recorded", error)))

  /** Records what the authorization server, or its silence, said, and tells the caller or sends it to the row. */
  const settle = Effect.fnUntraced(function*(
    connection: Connection,
    fence: number,
    secrets: RefreshSecrets,
    error: RedemptionError
  ): Effect.fn.Return<Step, AccessTokenError> {
    const { grant, generation, key } = connection
    const answer = "error" in error.reason ? error.reason.error : undefined
    const told = audit(key, "token.refresh_failed", error.reason._tag, generation, usedBy(secrets), answer)
    const recorded = (failure: RefreshFailure) => meanwhile(record(connection, fence, failure), told)
    const unredeemed = Effect.fnUntraced(function*(delay: Duration.Duration) {
      if (!isUnclear(error.reason)) return yield* Effect.asVoid(recorded({ _tag: "Retryable", delay }))
      yield* tellLoss(connection, secrets, yield* recorded({ _tag: "Retryable", delay, unclear: true }))
    })
    const refused = (code: "client_misconfigured" | "identity_required", delay: Duration.Duration) =>
      Effect.andThen(unredeemed(delay), new TokenError({ code }))
    const isOdd = error.reason._tag === "Transient" && error.reason.unclear === true
    if (!isOdd) oddRefusals.forget(connection)
    yield* Effect.logWarning("refresh failed", error)
    switch (error.reason._tag) {
      case "Terminal": {
        // No person consented to this connection, so it stays: somebody can help elsewhere.
        switch (grant.unattended?.grant.type) {
          case "identity_assertion":
            return yield* refused("identity_required", signInDelay)
          case "client_credentials":
          case "workload_assertion":
            return yield* refused("client_misconfigured", misconfiguredDelay)
        }
        const reason = rulesOf(connection).lost ?? (yield* reasonOf(connection))
        yield* tellLoss(connection, secrets, yield* recorded({ _tag: "Terminal", reason }))
        // The row says why the person is asked, or what a new consent has stored meanwhile.
        return again
      }
      case "Configuration":
        return yield* Effect.ensuring(
          refused("client_misconfigured", misconfiguredDelay),
          forgetRefused(grant, key, error)
        )
      case "Transient": {
        const { retryAfter: asked = transientDelay } = error.reason
        const odd = isOdd ? oddRefusals.count(connection) : undefined
        if (odd?.isEnough === true) return yield* refused("client_misconfigured", odd.pause)
        const delay = odd === undefined ? asked : Duration.max(asked, odd.pause)
        yield* unredeemed(delay)
        return yield* new TokenError({ code: "authorization_server_unavailable", retryAfter: delay })
      }
      case "UnknownOutcome":
      case "UntrustedIdToken":
        yield* tellLoss(connection, secrets, yield* recorded({ _tag: "UnknownOutcome" }))
        return again
    }
  })

  /**
   * Ends the use of a connection whose refresh was answered with credentials of another account
   * (OpenID Connect Core 1.0 §12.2). They are dropped: nobody here asked for them, and revoking them could end what their
   * owner has. The refresh token stays, so that a disconnect can end the grant.
   */
  const refuseStranger = Effect.fnUntraced(function*(connection: Connection, fence: number, secrets: RefreshSecrets) {
    const { generation, key } = connection
    yield* Effect.logError("a refresh was answered with the credentials of another account", {
      code: "account_changed",
      server: key.server,
      generation
    })
    const failure = { _tag: "Terminal", reason: "account_changed" } as const
    const recorded = yield* meanwhile(
      record(connection, fence, failure, { lost: "account_changed" }),
      audit(key, "token.refresh_failed", "account_changed", generation, usedBy(secrets))
    )
    yield* tellLoss(connection, secrets, recorded)
    return again
  })

  return { record, giveBack, giveBackBare, settle, refuseStranger }
})

/** The log may wait for other writers of its tenant, and what the row does not know after a crash is done again. */
const meanwhile = <A, E>(recording: Effect.Effect<A, E>, told: Effect.Effect<void>): Effect.Effect<A, E> =>
  Effect.zipWith(recording, told, (recorded) => recorded, { concurrent: true })

/** What a redemption that failed may still do. */
export type RefreshFailures = Effect.Success<ReturnType<typeof makeRefreshFailures>>
