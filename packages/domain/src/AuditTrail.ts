import { Context, Deferred, Duration, Effect, Layer, type Redacted } from "effect"
import type { AccessToken } from "./AccessToken.ts"
import { type AuditEvent, providerAnswerOf } from "./AuditEvent.ts"
import { AuditLog } from "./AuditLog.ts"
import { type AuditOrigin, CurrentOrigin } from "./AuditOrigin.ts"
import type { ConnectionKey } from "./Connection.ts"
import { type FingerprintPurpose, Fingerprints } from "./Fingerprints.ts"

/** What is recorded at once, besides where it came from. */
export interface AuditRecord {
  /** Whose chain, who did it, and the server that it concerns, if there is one. */
  readonly key: Pick<AuditEvent, "tenant" | "subject" | "server">
  readonly action: Exclude<AuditEvent["action"], "token.read">
  readonly outcome: string
  readonly target?: string | undefined
  readonly generation?: number | undefined
  /** The error code of a provider's answer, as it came. */
  readonly answer?: string | undefined
  readonly count?: number | undefined
  /** The secret that was used; only its fingerprint is kept. */
  readonly secret?: { readonly purpose: FingerprintPurpose; readonly value: Redacted.Redacted } | undefined
}

const batch = 500
/** Events that an outage of the store may hold in memory, and uses that a window may tell apart. */
const backlog = 10_000

/** Use case: recording what is done. It never fails what was done and never waits for more than one write of the log. */
export class AuditTrail extends Context.Service<AuditTrail, {
  /** Returns when the event is in the log; in an outage it is kept in memory and written with the next one. */
  record(record: AuditRecord): Effect.Effect<void>
  /**
   * Counts a token that was handed out. Uses of one generation by one kind of caller are one event per window with their
   * number, so that a read of a token writes nothing.
   */
  used(key: ConnectionKey, token: AccessToken, origin?: AuditOrigin): Effect.Effect<void>
  /** Writes the window that is open. */
  readonly flush: Effect.Effect<void>
}>()("@valetkey/domain/AuditTrail") {
  /** Layer of the use case. Closing it writes what is still in memory. */
  static readonly layer = (options?: {
    /** How long uses of a token are counted before they are written. Default 30 seconds. */
    readonly window?: Duration.Input
  }): Layer.Layer<AuditTrail, never, AuditLog | Fingerprints> =>
    Layer.effect(
      AuditTrail,
      Effect.gen(function*() {
        const log = yield* AuditLog
        const fingerprints = yield* Fingerprints
        const scope = yield* Effect.scope
        const waiting: Array<Waiting> = []
        const uses = new Map<string, Use>()
        let writing = false

        /** One writer at a time takes everything that waits: a burst of events is a few writes. */
        const write: Effect.Effect<void> = Effect.suspend(() => {
          if (writing) return Effect.void
          writing = true
          return Effect.gen(function*() {
            while (waiting.length > 0) {
              const taken = waiting.splice(0, batch)
              const stored = yield* log.append(taken.map(({ event }) => event)).pipe(
                Effect.as(true),
                Effect.catchCause((cause) =>
                  Effect.as(Effect.logWarning("audit events not stored yet", { events: taken.length }, cause), false)
                )
              )
              for (const { done } of taken) if (done !== undefined) Deferred.doneUnsafe(done, Effect.void)
              if (stored) continue
              const kept = Math.max(0, Math.min(taken.length, backlog - waiting.length))
              waiting.unshift(...taken.slice(0, kept).map(({ event }) => ({ event })))
              if (kept < taken.length) yield* Effect.logError("audit events lost", { events: taken.length - kept })
              // What came meanwhile has had no attempt of its own, but it would meet the same outage.
              for (const { done } of waiting) if (done !== undefined) Deferred.doneUnsafe(done, Effect.void)
              break
            }
            // In the same step as the last look at what waits, so that nobody counts on a writer that has ended.
            writing = false
          })
        }).pipe(Effect.uninterruptible)

        const fingerprintOf = (secret: AuditRecord["secret"]) =>
          secret === undefined
            ? Effect.succeed({})
            : fingerprints.of(secret.purpose, secret.value).pipe(
              Effect.map((fingerprint) => ({ fingerprint })),
              // Without a key there is no fingerprint; the event is worth having all the same.
              Effect.orElseSucceed(() => ({}))
            )

        const record = Effect.fnUntraced(
          function*({ action, answer, count, generation, key, outcome, secret, target }: AuditRecord) {
            const done = Deferred.makeUnsafe<void>()
            waiting.push({
              done,
              event: {
                tenant: key.tenant,
                subject: key.subject,
                ...(key.server === undefined ? {} : { server: key.server }),
                action,
                outcome,
                ...(target === undefined ? {} : { target }),
                ...(yield* CurrentOrigin),
                ...(generation === undefined ? {} : { generation }),
                ...(answer === undefined ? {} : { answer: providerAnswerOf(answer) }),
                ...(count === undefined ? {} : { count }),
                ...(yield* fingerprintOf(secret))
              }
            })
            if (!writing) yield* Effect.forkIn(write, scope, { startImmediately: true })
            yield* Deferred.await(done)
          }
        )

        const used = (key: ConnectionKey, token: AccessToken, caller?: AuditOrigin): Effect.Effect<void> =>
          Effect.withFiber((fiber) => {
            const origin = caller ?? fiber.getRef(CurrentOrigin)
            const id = `${origin.principal} ${origin.from} ${token.generation} ${key.path}`
            const known = uses.get(id)
            if (known !== undefined) {
              known.count++
              return Effect.void
            }
            const use: Use = { count: 1, event: undefined }
            uses.set(id, use)
            return Effect.flatMap(
              fingerprintOf({ purpose: "access_token", value: token.accessToken }),
              (fingerprint) => {
                use.event = {
                  tenant: key.tenant,
                  subject: key.subject,
                  server: key.server,
                  action: "token.read",
                  outcome: "ok",
                  ...origin,
                  generation: token.generation,
                  ...fingerprint
                }
                return uses.size < backlog ? Effect.void : Effect.asVoid(Effect.forkIn(flush, scope))
              }
            )
          })

        const flush = Effect.suspend(() => {
          for (const [id, { count, event }] of uses) {
            if (event === undefined) continue
            uses.delete(id)
            waiting.push({ event: { ...event, count } })
          }
          return write
        })

        yield* Effect.sleep(options?.window ?? Duration.seconds(30)).pipe(
          Effect.andThen(flush),
          Effect.forever,
          Effect.forkScoped
        )
        yield* Effect.addFinalizer(() => Effect.timeoutOption(flush, Duration.seconds(10)))
        return AuditTrail.of({ record, used, flush })
      })
    )
}

interface Waiting {
  readonly event: AuditEvent
  readonly done?: Deferred.Deferred<void>
}

interface Use {
  count: number
  /** Absent until the fingerprint is there. */
  event: AuditEvent | undefined
}
