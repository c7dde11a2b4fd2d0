import { Context, Duration, Effect, Layer, Option, Schedule, Schema } from "effect"
import { Instance } from "./Instance.ts"
import type { ReceiptId, RevocationReceipt } from "./RevocationReceipt.ts"
import { RevocationReceipts } from "./RevocationReceipts.ts"
import { connectionTopic, Signals } from "./Signals.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Error of naming a revocation that the caller does not have. */
export class RevocationNotFound
  extends Schema.TaggedError<RevocationNotFound>("valetkey/RevocationNotFound")("RevocationNotFound", {})
{
  readonly code = "revocation_not_found" as const
  override get message() {
    return "There is no revocation of this id; list them to see which there are"
  }
}

/** A receipt, and who asks for it. */
export interface ReceiptOwner {
  readonly tenant: TenantId
  readonly subject: SubjectId
  readonly id: ReceiptId
}

/** How long receipts are kept unless configured. */
export const receiptRetention = Duration.days(30)

/** Backstop for a lost signal while an attempt is awaited. */
const pollInterval = Duration.millis(500)
const sweepPage = 1000

/** Use case: what became of the tokens of connections that ended. */
export class Revocations extends Context.Service<Revocations, {
  readonly list: RevocationReceipts["Service"]["list"]
  get(owner: ReceiptOwner): Effect.Effect<RevocationReceipt, RevocationNotFound | StoreError>
  /** As `get`, once the revocation is settled or the time is over. */
  wait(
    owner: ReceiptOwner,
    atMost: Duration.Input
  ): Effect.Effect<RevocationReceipt, RevocationNotFound | StoreError>
}>()("@valetkey/domain/Revocations") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<Revocations, never, RevocationReceipts | Signals> = Layer.effect(
    Revocations,
    Effect.gen(function*() {
      const receipts = yield* RevocationReceipts
      const signals = yield* Signals

      const get = Effect.fnUntraced(function*(owner: ReceiptOwner) {
        const found = yield* receipts.get(owner)
        return Option.isNone(found) ? yield* new RevocationNotFound() : found.value
      })

      /** One look; undefined while it is pending and something has happened since. It listens before it looks. */
      const look = Effect.fnUntraced(function*(owner: ReceiptOwner, { key }: RevocationReceipt) {
        const wake = yield* signals.subscribe(connectionTopic(key))
        const receipt = yield* get(owner)
        if (receipt.settledAt !== undefined) return receipt
        yield* Effect.raceFirst(wake, Effect.sleep(pollInterval))
        return undefined
      }, Effect.scoped)

      return Revocations.of({
        list: receipts.list,
        get,
        wait: Effect.fnUntraced(function*(owner, atMost) {
          const first = yield* get(owner)
          if (first.settledAt !== undefined) return first
          return yield* look(owner, first).pipe(
            Effect.repeat({ until: (receipt) => receipt !== undefined }),
            Effect.timeoutOption(atMost),
            Effect.flatMap(Option.match({
              onNone: () => get(owner),
              onSome: (receipt) => receipt === undefined ? get(owner) : Effect.succeed(receipt)
            }))
          )
        })
      })
    })
  )

  /** Layer that removes old receipts, hourly until the scope ends; those of another instance's store stay. */
  static readonly layerRetention = (options?: {
    readonly retention?: Duration.Duration
  }): Layer.Layer<never, never, RevocationReceipts> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const receipts = yield* RevocationReceipts
      const instance = yield* Effect.serviceOption(Instance)
      const olderThan = options?.retention ?? receiptRetention
      yield* Effect.gen(function*() {
        if (Option.isSome(instance)) yield* instance.value.admitted
        while ((yield* receipts.sweep({ olderThan, limit: sweepPage })) === sweepPage) yield* Effect.yieldNow
      }).pipe(
        Effect.catchCause((cause) => Effect.logWarning("old revocation receipts not removed", cause)),
        Effect.repeat(Schedule.jittered(Schedule.spaced(Duration.hours(1)))),
        Effect.forkScoped
      )
    }))
}
