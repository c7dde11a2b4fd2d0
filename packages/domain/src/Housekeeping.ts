import { Cause, Context, Duration, Effect, Exit, Layer, Metric, Redacted } from "effect"
import type { AuditTrail } from "./AuditTrail.ts"
import { AuthorizationServer, RevocationError } from "./AuthorizationServer.ts"
import { Cipher, CipherError } from "./Cipher.ts"
import { ConnectionStore } from "./ConnectionStore.ts"
import type { Entropy } from "./Entropy.ts"
import { Flows } from "./Flows.ts"
import { FlowStore } from "./FlowStore.ts"
import * as Instruments from "./Instruments.ts"
import { makeAuditing } from "./internal/auditing.ts"
import { unbind } from "./internal/boundSecrets.ts"
import { makeLateResults } from "./internal/lateResults.ts"
import { type Found, makeRounds } from "./internal/rounds.ts"
import { type OutboxSecret, type Revocation, RevocationOutbox } from "./RevocationOutbox.ts"
import { outcomeOf, type RevocationProgress } from "./RevocationReceipt.ts"
import type { RevocationReceipts } from "./RevocationReceipts.ts"
import { connectionTopic, flowTopic, Signals } from "./Signals.ts"
import { Spool, type SpoolEntry } from "./Spool.ts"
import type { StoreError } from "./StoreError.ts"

const batch = 100
const revocationLease = Duration.seconds(30)
/** After this many refused attempts a revocation is given up; at the last pace that is about a day. */
const maxRevocationAttempts = 30

/** Use case: what must happen although nobody asks for it. Every piece may run on all replicas at once. */
export class Housekeeping extends Context.Service<Housekeeping, {
  /** Settles flows that nobody will and forgets old ones; returns how many were settled. */
  readonly sweep: Effect.Effect<number, StoreError>
  /** Sends the revocations that are due; returns how many were confirmed. */
  readonly revoke: Effect.Effect<number, StoreError>
  /**
   * Commits what a crash or a store outage left in the spool; returns how many credentials were adopted. What is too late
   * because the connection ended goes to the outbox before the spool forgets it.
   */
  readonly replay: Effect.Effect<number, StoreError>
}>()("@valetkey/domain/Housekeeping") {
  /** Layer of the use case; nothing runs by itself. */
  static readonly layer: Layer.Layer<
    Housekeeping,
    never,
    | AuditTrail
    | AuthorizationServer
    | Cipher
    | ConnectionStore
    | Entropy
    | Flows
    | FlowStore
    | RevocationOutbox
    | RevocationReceipts
    | Signals
    | Spool
  > = Layer.effect(
    Housekeeping,
    Effect.gen(function*() {
      const flows = yield* Flows
      const flowStore = yield* FlowStore
      const connections = yield* ConnectionStore
      const outbox = yield* RevocationOutbox
      const server = yield* AuthorizationServer
      const cipher = yield* Cipher
      const signals = yield* Signals
      const spool = yield* Spool
      const audit = yield* makeAuditing
      const dropLate = yield* makeLateResults

      const open = (secret: OutboxSecret | undefined) =>
        // A revocation needs no proof of possession, and so no key.
        secret === undefined
          ? Effect.undefined
          : Effect.map(cipher.open(secret.context, secret.sealed), (opened) => unbind(opened).secret)

      /** The refresh token first: at most servers it takes the access token along (RFC 7009 §2.1). */
      const revokeOne = Effect.fnUntraced(function*(revocation: Revocation, progress: Progress) {
        if (revocation.grant.revocationEndpoint === undefined) {
          // Nothing can be sent, so nothing has to be opened.
          for (const kind of kinds) if (progress[kind] !== undefined) progress[kind] = "unsupported"
          return
        }
        const clientSecret = yield* open(revocation.clientSecret)
        const refreshToken = yield* open(revocation.refreshToken)
        const accessToken = yield* open(revocation.accessToken)
        if (refreshToken !== undefined) {
          progress.refreshToken = yield* server.revoke(revocation.grant, {
            token: refreshToken,
            hint: "refresh_token",
            clientSecret
          })
        }
        // A deposit without an access token keeps an empty one: nothing of it can live on.
        if (accessToken !== undefined && Redacted.value(accessToken) === "") progress.accessToken = "confirmed"
        else if (accessToken !== undefined) {
          progress.accessToken = yield* server.revoke(revocation.grant, {
            token: accessToken,
            hint: "access_token",
            clientSecret
          })
        }
      })

      const settleOne = Effect.fnUntraced(function*(revocation: Revocation) {
        const { attempts, id, key } = revocation
        const progress: Progress = {
          accessToken: revocation.accessToken && "pending",
          refreshToken: revocation.refreshToken && "pending"
        }
        const exit = yield* Effect.exit(revokeOne(revocation, progress))
        if (Exit.isFailure(exit)) {
          yield* Effect.logWarning("revocation not confirmed", exit.cause)
          progress.error = codeOf(exit.cause)
          if (attempts < maxRevocationAttempts || isKeyMissing(exit.cause)) {
            yield* outbox.retry(id, Duration.max(retryDelay(attempts), askedDelay(exit.cause)), progress)
            return 0
          }
          for (const kind of kinds) if (progress[kind] === "pending") progress[kind] = "given_up"
        }
        yield* outbox.settle(id, progress)
        const outcome = outcomeOf(progress)
        yield* audit(key, "connection.revoked", outcome)
        return outcome === "confirmed" || outcome === "partial" ? 1 : 0
      }, (effect, { key }) =>
        effect.pipe(
          Effect.tap(() => signals.notify(connectionTopic(key))),
          // The lease of this entry brings it back; the others of the round have their turn.
          Effect.catch((error) => Effect.as(Effect.logWarning("revocation not recorded", error), 0))
        ))

      const adopt = Effect.fnUntraced(function*(entry: SpoolEntry) {
        const committed = yield* connections.commit(entry.key, {
          generation: entry.redeemed,
          epoch: entry.epoch,
          credentials: entry.credentials,
          resultId: entry.id
        })
        if (committed) yield* signals.wake(connectionTopic(entry.key))
        else if (!(yield* connections.isCommitted(entry.key, entry.id))) yield* dropLate(entry)
        yield* spool.remove(entry.id)
        return committed ? 1 : 0
      }, Effect.catch((error) => Effect.as(Effect.logWarning("spooled credentials not adopted yet", error), 0)))

      return Housekeeping.of({
        sweep: Effect.gen(function*() {
          let total = 0
          while (true) {
            const settled = yield* flowStore.sweep({ retention: Duration.days(1), limit: batch })
            yield* flows.release(settled)
            yield* Effect.forEach(settled, (id) => signals.notify(flowTopic(id)), { discard: true })
            total += settled.length
            yield* Metric.update(Instruments.flowSettled("swept"), settled.length)
            if (settled.length < batch) return total
          }
        }),
        revoke: Effect.gen(function*() {
          let confirmed = 0
          while (true) {
            const due = yield* outbox.take({ limit: batch, lease: revocationLease })
            confirmed += sum(yield* Effect.forEach(due, settleOne, { concurrency: 8 }))
            yield* Metric.update(Instruments.outboxDepth, yield* outbox.depth)
            if (due.length < batch) return confirmed
          }
        }),
        replay: Effect.flatMap(spool.list, (entries) => Effect.map(Effect.forEach(entries, adopt), sum))
      })
    })
  )

  /**
   * Layer that runs each piece until the scope ends: `every` 2 seconds while there is something to do or a signal tells that
   * something goes on, and less and less often, down to once in `idle` 8 seconds, while there is nothing. A failed round is
   * logged and the next one comes.
   */
  static readonly layerSchedule = (
    options?: { readonly every?: Duration.Input; readonly idle?: Duration.Input }
  ): Layer.Layer<never, never, Housekeeping | Signals> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const housekeeping = yield* Housekeeping
      const rounds = yield* makeRounds({ every: options?.every ?? "2 seconds", idle: options?.idle ?? "8 seconds" })
      for (const [name, piece] of Object.entries(pieces(housekeeping))) {
        const round = Effect.matchCauseEffect(piece, {
          onSuccess: (found) => Effect.as(Metric.update(Instruments.housekeepingRound(name, "ok"), 1), found),
          onFailure: (cause) =>
            Effect.andThen(
              Metric.update(Instruments.housekeepingRound(name, "failed"), 1),
              Effect.as(Effect.logWarning(`housekeeping failed: ${name}`, cause), "failure" as const)
            )
        })
        yield* Effect.forkScoped(rounds(round))
      }
    }))
}

const pieces = (housekeeping: Housekeeping["Service"]) => ({
  sweep: Effect.map(housekeeping.sweep, found),
  revoke: Effect.map(housekeeping.revoke, found),
  // What lies there waits for a store that may be back at any moment, and nobody would say so. Looking is no query.
  replay: Effect.as(housekeeping.replay, "something" as const)
})

const found = (count: number): Found => count > 0 ? "something" : "nothing"

const kinds = ["refreshToken", "accessToken"] as const

type Progress = { -readonly [Key in keyof RevocationProgress]: RevocationProgress[Key] }

/** The stable code of what went wrong. */
const codeOf = (cause: Cause.Cause<CipherError | RevocationError>): string => {
  const error = Cause.squash(cause)
  return error instanceof CipherError || error instanceof RevocationError ? error.code : "internal"
}

/** How long the server asks to be left alone; a day of attempts must not become longer than a day. */
const askedDelay = (cause: Cause.Cause<CipherError | RevocationError>): Duration.Duration => {
  const error = Cause.squash(cause)
  return error instanceof RevocationError && error.retryAfter !== undefined
    ? Duration.min(error.retryAfter, Duration.hours(1))
    : Duration.zero
}

const isKeyMissing = (cause: Cause.Cause<CipherError | RevocationError>): boolean => {
  const error = Cause.squash(cause)
  return error instanceof CipherError && error.code !== "integrity_error"
}

const sum = (counts: ReadonlyArray<number>): number => counts.reduce((total, one) => total + one, 0)

const retryDelay = (attempts: number): Duration.Duration =>
  Duration.min(Duration.seconds(2 ** attempts), Duration.hours(1))
