import { Clock, Context, Duration, Effect, Fiber, FiberSet, Layer, Option, Result, Schedule } from "effect"
import type { AuditTrail } from "./AuditTrail.ts"
import { AuthorizationServer, RedemptionError } from "./AuthorizationServer.ts"
import * as Checkpoint from "./Checkpoint.ts"
import { Cipher } from "./Cipher.ts"
import type { ConnectionStore } from "./ConnectionStore.ts"
import { type DevicePoll, DevicePolls, type NextPoll } from "./DevicePolls.ts"
import type { Entropy } from "./Entropy.ts"
import { ExchangeDeadlines } from "./ExchangeDeadlines.ts"
import { type FlowFailure, sealContext } from "./Flow.ts"
import { FlowStore } from "./FlowStore.ts"
import { unbind } from "./internal/boundSecrets.ts"
import { makeRefusedClients } from "./internal/refusedClients.ts"
import { failureOf, type Granted, makeStoring, persist } from "./internal/storing.ts"
import { RegistrationStore } from "./RegistrationStore.ts"
import type { RevocationOutbox } from "./RevocationOutbox.ts"
import type { Signals } from "./Signals.ts"
import type { StoreError } from "./StoreError.ts"

/** One request, with what the network may take beyond its own deadline. */
const pollDeadline = Duration.seconds(35)
/** How long a poll belongs to its taker. After it the flow is taken from one who died in the middle. */
const pollLease = Duration.seconds(60)
const { lease: storingLease } = ExchangeDeadlines.standard
/** RFC 8628 §3.5: by how much `slow_down` makes this and every later pause longer. */
const slowDown = Duration.seconds(5)
const longestPause = Duration.minutes(2)
/** How many polls this process has under way at most. */
const atOnce = 256

/** What this process took. */
export interface Round {
  readonly taken: number
  /** Completes when each of them has been dealt with; interrupting it changes nothing. */
  readonly done: Effect.Effect<void>
}

/**
 * Use case: asking authorization servers what became of device codes. It may run on all replicas at once: each flow is
 * polled by one of them at a time, in the pace that its server asks for.
 *
 * @see RFC 8628 §3.4, §3.5
 */
export class DevicePoller extends Context.Service<DevicePoller, {
  /** Takes the polls that are due, as many as this process has room for, and sends each in a fiber of the application. */
  readonly begin: Effect.Effect<Round, StoreError>
  /** How long until a poll is due; none when nobody waits for a device. */
  readonly nextDue: Effect.Effect<Option.Option<Duration.Duration>, StoreError>
}>()("@valetkey/domain/DevicePoller") {
  /** Layer of the use case; nothing runs by itself. Closing it waits for polls under way. */
  static readonly layer: Layer.Layer<
    DevicePoller,
    never,
    | AuditTrail
    | AuthorizationServer
    | Cipher
    | ConnectionStore
    | DevicePolls
    | Entropy
    | FlowStore
    | RegistrationStore
    | RevocationOutbox
    | Signals
  > = Layer.effect(
    DevicePoller,
    Effect.gen(function*() {
      const flows = yield* FlowStore
      const polls = yield* DevicePolls
      const server = yield* AuthorizationServer
      const cipher = yield* Cipher
      const storing = yield* makeStoring()
      const forgetRefused = makeRefusedClients(yield* RegistrationStore)
      const fibers = yield* FiberSet.make<void>()
      yield* Effect.addFinalizer(() =>
        FiberSet.awaitEmpty(fibers).pipe(Effect.timeoutOption(pollDeadline), Effect.ignore)
      )

      const again = (poll: DevicePoll, change: Partial<NextPoll>) => {
        const { doubtful, failures, interval } = { ...poll, ...change }
        const after = change.after ?? interval
        return persist(polls.again(poll.id, poll.fence, { after, interval, failures, doubtful }))
      }

      const end = Effect.fnUntraced(function*(
        poll: DevicePoll,
        outcome: FlowFailure | "expired" | "outcome_unknown",
        answer?: string
      ) {
        if (yield* persist(polls.end(poll.id, poll.fence, outcome))) yield* storing.settled(poll, outcome, { answer })
      })

      const openSecrets = Effect.fnUntraced(function*({ clientSecret, deviceCode, id, key }: DevicePoll) {
        const { proofKey, secret } = unbind(
          yield* cipher.open(sealContext(key.tenant, id, "device_code"), deviceCode)
        )
        return {
          deviceCode: secret,
          proofKey,
          clientSecret: clientSecret === undefined
            ? undefined
            : yield* cipher.open(sealContext(key.tenant, id, "client_secret"), clientSecret)
        }
      })

      const refused = Effect.fnUntraced(function*(poll: DevicePoll, error: RedemptionError) {
        const { reason } = error
        switch (reason._tag) {
          case "Transient":
          case "UnknownOutcome": {
            // RFC 8628 §3.5: a server that gives no answer is asked less and less often.
            const pause = Duration.min(
              Duration.times(poll.interval, 2 ** Math.min(poll.failures + 1, 10)),
              longestPause
            )
            const asked = reason._tag === "Transient" ? reason.retryAfter ?? Duration.zero : Duration.zero
            return yield* again(poll, {
              after: Duration.max(Duration.max(pause, poll.interval), asked),
              failures: poll.failures + 1,
              doubtful: poll.doubtful || reason._tag === "UnknownOutcome"
            })
          }
          case "UntrustedIdToken":
            return yield* end(poll, failureOf(error))
          case "Terminal":
          case "Configuration": {
            yield* Effect.logWarning("device code refused", error)
            yield* forgetRefused(poll.grant, poll.key, error)
            // A code that was granted is refused from then on: an answer that was lost held the credentials.
            const outcome = reason._tag === "Terminal" && poll.doubtful ? "outcome_unknown" : failureOf(error)
            return yield* end(poll, outcome, reason.error)
          }
        }
      })

      const send = Effect.fnUntraced(function*(poll: DevicePoll, takenAt: bigint) {
        yield* Checkpoint.reach("device.claimed")
        const opened = yield* Effect.result(openSecrets(poll))
        if (Result.isFailure(opened)) {
          // The key may come back while the person is still at it; nothing was sent.
          yield* Effect.logError("device code not opened", opened.failure)
          return yield* again(poll, {})
        }
        const secrets = opened.success
        const age = (yield* Clock.monotonicTimeNanos) - takenAt
        // A pause ate the lease: somebody else may be asking already.
        if (age > Duration.toNanosUnsafe(Duration.subtract(pollLease, pollDeadline))) return
        const answer = yield* server.poll(poll.grant, { ...secrets, openid: poll.snapshot.openid === true }).pipe(
          Effect.timeoutOrElse({
            duration: pollDeadline,
            orElse: () => Effect.fail(new RedemptionError({ reason: { _tag: "UnknownOutcome" } }))
          }),
          Effect.interruptible,
          Effect.result
        )
        yield* Checkpoint.reach("device.answered")
        if (Result.isFailure(answer)) return yield* refused(poll, answer.failure)
        switch (answer.success._tag) {
          case "Pending":
            return yield* again(poll, { failures: 0, doubtful: false })
          case "SlowDown": {
            const slower = Duration.sum(poll.interval, slowDown)
            const interval = Duration.max(slower, answer.success.interval ?? slower)
            return yield* again(poll, { interval, failures: 0, doubtful: false })
          }
          case "Denied":
            return yield* end(poll, "access_denied", "access_denied")
          case "Expired":
            // Some servers say so of a code that was used: the answer that was lost may have held the credentials.
            return yield* end(poll, poll.doubtful ? "outcome_unknown" : "expired", "expired_token")
          case "Granted": {
            const { credentials } = answer.success
            const fence = yield* persist(polls.accept(poll, storingLease))
            const granted: Granted = {
              ...poll,
              scopes: poll.snapshot.scopes,
              accountChange: poll.snapshot.accountChange,
              clientOfServer: poll.snapshot.clientOfServer,
              fence: Option.getOrElse(fence, () => poll.fence)
            }
            if (Option.isSome(fence)) {
              const settle = (failure: FlowFailure) =>
                Effect.flatMap(
                  flows.fail(granted.id, granted.fence, failure),
                  (failed) => failed ? storing.settled(granted, failure) : Effect.void
                )
              return yield* storing.store(granted, credentials, secrets.clientSecret).pipe(
                Effect.tapErrorTag("CipherError", ({ code }) => settle(code)),
                Effect.tapErrorTag("StoreError", () => settle("storage_failed"))
              )
            }
            yield* Effect.logWarning("flow ended while its device was asked about; its tokens are revoked")
            return yield* storing.drop(granted, credentials, secrets.clientSecret)
          }
        }
      })

      const run = (poll: DevicePoll, takenAt: bigint): Effect.Effect<void> =>
        send(poll, takenAt).pipe(
          Effect.asVoid,
          Effect.catchCause((cause) =>
            Effect.logError("poll of a device code not finished; its lease repeats it", cause)
          ),
          Effect.withSpan("DevicePoller.poll", { attributes: { "valetkey.flow": poll.id } }),
          Effect.uninterruptible
        )

      return DevicePoller.of({
        begin: Effect.gen(function*() {
          const room = atOnce - (yield* FiberSet.size(fibers))
          if (room <= 0) return { taken: 0, done: Effect.void }
          const takenAt = yield* Clock.monotonicTimeNanos
          const taken = yield* polls.take({ limit: room, lease: pollLease })
          const started = yield* Effect.forEach(taken, (poll) => FiberSet.run(fibers, run(poll, takenAt)))
          return {
            taken: taken.length,
            done: Effect.forEach(started, (fiber) => Effect.exit(Fiber.join(fiber)), { discard: true })
          }
        }).pipe(Effect.uninterruptible),
        nextDue: polls.nextDue
      })
    })
  )

  /**
   * Layer that polls until the scope ends: when the next flow is due, and at the latest after `every`, which is how soon
   * another replica's flow is found when that replica is gone. A failed round is logged and the next one comes.
   */
  static readonly layerSchedule = (
    options?: { readonly every?: Duration.Input }
  ): Layer.Layer<never, never, DevicePoller> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const poller = yield* DevicePoller
      const every = Duration.fromInputUnsafe(options?.every ?? "2 seconds")
      // Looking is cheaper than taking, and mostly nothing is due.
      const round = Effect.flatMap(poller.nextDue, (due) => {
        const wait = Option.getOrElse(due, () => every)
        return Duration.isZero(wait)
          // What is due and not to be had is another replica's, or there is no room.
          ? Effect.map(poller.begin, ({ taken }) => taken === 0 ? every : shortestPause)
          : Effect.succeed(Duration.min(wait, every))
      })
      yield* round.pipe(
        Effect.catchCause((cause) => Effect.as(Effect.logWarning("device codes not polled", cause), every)),
        Effect.flatMap(Effect.sleep),
        Effect.repeat(Schedule.forever),
        Effect.forkScoped
      )
    }))
}

/** Between a round that took something and the look after it. */
const shortestPause = Duration.millis(100)
