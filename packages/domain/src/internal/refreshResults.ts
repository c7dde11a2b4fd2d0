import { Duration, Effect, Redacted, Schedule } from "effect"
import { type AccessToken, type AccessTokenError, destinationOf, isBound, TokenError } from "../AccessToken.ts"
import * as Checkpoint from "../Checkpoint.ts"
import { Cipher, type CipherError } from "../Cipher.ts"
import { type Connection, Generation } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { type Credentials, mergeRefreshed } from "../Credentials.ts"
import type { Deadlines } from "../Deadlines.ts"
import { Entropy } from "../Entropy.ts"
import { connectionTopic, Signals } from "../Signals.ts"
import { Spool, type SpoolEntry } from "../Spool.ts"
import { makeAuditing } from "./auditing.ts"
import { makeExpiries } from "./expiries.ts"
import { makeInsisting } from "./insisting.ts"
import type { KeptResults } from "./keptResults.ts"
import { makeLateResults } from "./lateResults.ts"
import { makeRedemptionRules } from "./redemptionRules.ts"
import { misconfiguredDelay, type RefreshFailures } from "./refreshFailures.ts"
import { type RefreshSecrets, usedBy } from "./refreshSecrets.ts"
import { again, done, type Step } from "./refreshStep.ts"
import { sealCredentials } from "./sealing.ts"

/** How often what is in memory alone is tried again. */
const keepPace = Duration.seconds(2)

/** Builds the storing of what a redemption brought: spooled first, then committed by generation and epoch, whoever holds the lease. */
export const makeRefreshResults = Effect.fnUntraced(function*({ deadlines, failures, fork, kept }: {
  readonly deadlines: Deadlines
  readonly kept: KeptResults
  readonly failures: RefreshFailures
  /** Runs what nobody waits for in a fiber of the application. */
  readonly fork: (effect: Effect.Effect<void>) => Effect.Effect<void>
}) {
  const connections = yield* ConnectionStore
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const signals = yield* Signals
  const spool = yield* Spool
  const audit = yield* makeAuditing
  const dropLate = yield* makeLateResults
  const learnExpiry = yield* makeExpiries
  const rulesOf = yield* makeRedemptionRules
  const insist = makeInsisting(deadlines)

  const append = (entry: SpoolEntry): Effect.Effect<boolean> =>
    spool.append(entry).pipe(
      Effect.as(true),
      Effect.catchCause((cause) => Effect.as(Effect.logWarning("refreshed credentials not spooled", cause), false))
    )

  /** Whether the entry's credentials are the connection's next ones; none when the store did not take them in time. */
  const commit = ({ credentials, epoch, id: resultId, key, redeemed: generation }: SpoolEntry) =>
    Effect.option(insist(
      connections.commit(key, { generation, epoch, credentials, resultId }).pipe(
        // A failed commit may have happened; its result id tells.
        Effect.catch((error) =>
          Effect.flatMap(
            connections.isCommitted(key, resultId),
            (landed) => landed ? Effect.succeed(true) : Effect.fail(error)
          )
        )
      )
    ))

  /**
   * What neither spool nor store took in time is in this process alone, which tries both for as long as it lives: in the
   * spool it outlives the process and is settled by `Housekeeping.replay`.
   */
  const keep = (entry: SpoolEntry): Effect.Effect<void> =>
    spool.append(entry).pipe(
      Effect.catchCause(() =>
        Effect.gen(function*() {
          const { credentials, epoch, id: resultId, key, redeemed: generation } = entry
          if (yield* connections.commit(key, { generation, epoch, credentials, resultId })) {
            return yield* signals.wake(connectionTopic(key))
          }
          if (!(yield* connections.isCommitted(key, resultId))) yield* dropLate(entry)
        })
      ),
      Effect.retry(Schedule.spaced(keepPace))
    ).pipe(Effect.catchCause((cause) => Effect.logError("refreshed credentials lost", cause)))

  /** What could not be sealed in time is in this process alone as well: nothing else takes it before the key is back. */
  const keepUnsealed = Effect.fnUntraced(function*(sealed: Effect.Effect<SpoolEntry, CipherError>) {
    yield* Effect.logError("refreshed credentials cannot be sealed; they are kept in memory until the key is back")
    yield* fork(
      Effect.retry(sealed, Schedule.spaced(keepPace)).pipe(
        Effect.flatMap(keep),
        Effect.catchCause((cause) => Effect.logError("refreshed credentials lost", cause))
      )
    )
  })

  /** Says where credentials are that the store did not take. */
  const leave = Effect.fnUntraced(function*(entry: SpoolEntry, spooled: boolean) {
    if (spooled) return yield* Effect.logError("refreshed credentials not settled; they stay in the spool")
    yield* Effect.logError("refreshed credentials neither spooled nor settled; they are kept in memory and tried again")
    yield* fork(kept.during(entry, keep(entry)))
  })

  /** What is too late leaves the spool when it is settled, and waits there otherwise. */
  const drop = (entry: SpoolEntry, spooled: boolean): Effect.Effect<void> =>
    insist(dropLate(entry)).pipe(
      Effect.andThen(Effect.ignore(spool.remove(entry.id))),
      Effect.catch((error) =>
        Effect.andThen(Effect.logWarning("late credentials not revoked", error), leave(entry, spooled))
      )
    )

  /** Keeps everybody from redeeming for a while: a provider that forgets the access token may do so every time. */
  const pause = Effect.fnUntraced(function*(connection: Connection) {
    const { epoch, generation, key } = connection
    const { lease } = deadlines
    const claim = yield* connections.claim(key, { generation, epoch, ...rulesOf(connection), lease })
    if (claim._tag !== "Claimed") return
    yield* failures.record(connection, claim.fence, { _tag: "Retryable", delay: misconfiguredDelay })
  }, Effect.catch((error) => Effect.logWarning("pause after an answer without an access token not recorded", error)))

  /** Seals, spools and commits. A result that lost is dropped; one of a connection that ended is revoked. */
  return Effect.fnUntraced(function*(
    connection: Connection,
    secrets: RefreshSecrets,
    answer: Credentials
  ): Effect.fn.Return<Step, AccessTokenError> {
    const { clientSecret, epoch, generation, grant, key } = connection
    const next = Generation.make(generation + 1)
    const merged = grant.unattended === undefined
      ? mergeRefreshed({ ...connection.credentials, refreshToken: secrets.refreshToken }, answer)
      : { ...answer, refreshToken: undefined, scopes: answer.scopes ?? grant.unattended.scopes }
    const { proofKey } = secrets
    const id = yield* entropy.id
    const sealed = Effect.map(
      sealCredentials(cipher, { key, epoch, generation: next }, { ...merged, proofKey }),
      (credentials): SpoolEntry => ({ id, key, epoch, redeemed: generation, credentials, grant, clientSecret })
    )
    // A key that is away for a moment costs a moment; whoever asks hears of one that stays away.
    const entry = yield* sealed.pipe(
      Effect.catch(() => Effect.catchTag(insist(sealed), "TimeoutError", () => sealed)),
      Effect.tapError(() => keepUnsealed(sealed))
    )
    const spooled = yield* append(entry)
    yield* Checkpoint.reach("refresh.before_commit")
    const committed = yield* commit(entry)
    yield* Checkpoint.reach("refresh.after_commit")
    const isWhole = Redacted.value(merged.accessToken) !== ""
    const token: AccessToken = {
      accessToken: merged.accessToken,
      tokenType: merged.tokenType,
      ...(proofKey !== undefined && isBound(merged.tokenType) ? { proofKey } : {}),
      expiresAt: merged.expiresAt,
      scopes: merged.scopes,
      generation: next,
      destination: destinationOf(grant)
    }
    if (committed._tag === "None") {
      yield* leave(entry, spooled)
      if (!isWhole) return yield* incomplete
      return done(token)
    }
    if (!committed.value && !(yield* connections.isCommitted(key, entry.id))) {
      yield* drop(entry, spooled)
      return again
    }
    if (!isWhole) {
      yield* Effect.ignore(spool.remove(entry.id))
      yield* pause({ ...connection, generation: next })
      yield* audit(key, "token.refresh_failed", "no_access_token", next, usedBy(secrets))
      return yield* incomplete
    }
    yield* signals.wake(connectionTopic(key))
    // The token is stored and known to the other replicas: whoever waits for it does not wait for the records.
    yield* fork(Effect.andThen(
      Effect.ignore(spool.remove(entry.id)),
      Effect.andThen(
        audit(key, "token.refreshed", "ok", next, usedBy(secrets)),
        learnExpiry({ key, epoch, generation: next, grant }, answer, secrets.clientSecret)
      )
    ))
    return done(token)
  })
})

const incomplete = Effect.fail(
  new TokenError({ code: "authorization_server_unavailable", retryAfter: misconfiguredDelay })
)
