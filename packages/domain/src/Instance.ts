import { Context, type DateTime, type Duration, Effect, Layer, Schedule, Semaphore } from "effect"
import { CipherError } from "./Cipher.ts"
import { type InstanceRecord, InstanceStore } from "./InstanceStore.ts"
import type { StoreError } from "./StoreError.ts"

/** What the configuration and the store say of whose the store is. */
export interface InstanceStatus {
  readonly configured: string
  readonly stored: string
  readonly takenOverAt: DateTime.Utc | undefined
}

/**
 * Use case: keeps a copied or restored store harmless. While the store belongs to another instance than the configured
 * one nothing that it holds is opened and nobody is called.
 */
export class Instance extends Context.Service<Instance, {
  /** Fails with `instance_mismatch` while the store belongs to another instance. Reads nothing; `look` does. */
  readonly admitted: Effect.Effect<void, CipherError>
  /** Asks the store whose it is. */
  readonly look: Effect.Effect<InstanceStatus, StoreError>
  /** The instances whose store this was before. */
  readonly former: () => ReadonlyArray<string>
  /** Credentials that were issued before this time may be in use elsewhere as well; undefined when there are none such. */
  readonly restoredBefore: () => DateTime.Utc | undefined
  /** Makes the store this instance's own. What it holds counts as restored from now on. Idempotent. */
  readonly takeOver: Effect.Effect<InstanceStatus, StoreError>
}>()("@valetkey/domain/Instance") {
  /** Layer that claims a store that is nobody's, and asks again at its pace: somebody else may take it over. */
  static readonly layer = (options: {
    readonly id: string
    readonly every?: Duration.Input | undefined
  }): Layer.Layer<Instance, StoreError, InstanceStore> =>
    Layer.effect(
      Instance,
      Effect.gen(function*() {
        const store = yield* InstanceStore
        const turn = yield* Semaphore.make(1)
        let record: InstanceRecord = yield* store.claim(options.id)
        const isOurs = () => record.id === options.id
        const status = (): InstanceStatus => ({
          configured: options.id,
          stored: record.id,
          takenOverAt: record.takenOverAt
        })
        const look = Effect.map(store.claim(options.id), (found) => {
          record = found
          return status()
        }).pipe(turn.withPermits(1))
        const warn = Effect.logError(
          "the database belongs to another instance; nothing that it holds is used until it is taken over"
        )
        if (!isOurs()) yield* warn
        yield* Effect.suspend(() => {
          const before = isOurs()
          return Effect.andThen(look, Effect.suspend(() => before && !isOurs() ? warn : Effect.void))
        }).pipe(
          Effect.catch((error) => Effect.logWarning("the store did not say whose it is", error)),
          Effect.schedule(Schedule.spaced(options.every ?? "2 seconds")),
          Effect.forkScoped
        )
        return Instance.of({
          admitted: Effect.suspend(() => isOurs() ? Effect.void : mismatch),
          look,
          former: () => isOurs() ? record.former : [],
          restoredBefore: () => isOurs() ? record.takenOverAt : undefined,
          takeOver: Effect.gen(function*() {
            let found = yield* look
            while (found.stored !== found.configured) {
              if (yield* store.takeOver(found.stored, found.configured)) {
                yield* Effect.logWarning("the database was taken over; its connections count as restored")
              }
              found = yield* look
            }
            return found
          })
        })
      })
    )
}

const mismatch = Effect.fail(new CipherError({ code: "instance_mismatch" }))
