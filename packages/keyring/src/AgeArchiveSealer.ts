import { ArchiveSealer, RecipientInvalid } from "@valetkey/domain/ArchiveSealer"
import { Effect, Layer, Redacted, Semaphore } from "effect"
import { sealTo, sealUnder } from "./AgeFile.ts"

/** Layer of the ArchiveSealer port in the age format. */
export const layer: Layer.Layer<ArchiveSealer> = Layer.effect(
  ArchiveSealer,
  Effect.gen(function*() {
    // Each derivation takes a second of a thread and 256 MiB: one at a time, however many ask. It cannot be stopped, so
    // a caller who leaves keeps its turn until it ends.
    const turn = yield* Semaphore.make(1)
    return ArchiveSealer.of({
      seal: (document, to) => {
        const plaintext = new TextEncoder().encode(Redacted.value(document))
        return to._tag === "Passphrase"
          ? turn.withPermits(1)(
            Effect.uninterruptible(Effect.promise(() => sealUnder(plaintext, Redacted.value(to.passphrase))))
          )
          : Effect.tryPromise({
            try: () => sealTo(plaintext, to.recipient),
            catch: () => new RecipientInvalid()
          })
      }
    })
  })
)
