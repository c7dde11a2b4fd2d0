import { Context, Effect, Layer } from "effect"
import { DocumentTags } from "./DocumentTags.ts"
import { makeAllowance } from "./internal/allowance.ts"
import { RegistrationStore } from "./RegistrationStore.ts"
import type { StateVerdict } from "./StateTags.ts"
import type { StoreError } from "./StoreError.ts"

/** How many documents a process looks up in a second: anybody can ask for one, and each costs a query. */
const lookupsPerSecond = 50

/** A document that names a key, as its URL says. */
export interface KeyedDocument {
  readonly context: string
  /** The public key as the path writes it. */
  readonly key: string
  /** Absent in the URLs of versions that wrote none. */
  readonly tag: string | undefined
  /** The URL of the document itself. */
  readonly clientId: string
}

/** Use case: which client documents are this installation's own. */
export class ClientDocuments extends Context.Service<ClientDocuments, {
  /**
   * Who wrote the URL. A tag under a key that is here says so alone. Of a URL without one, or under a key that is not here
   * any more, only the record can tell: what a registration or a connection has for its client id is ours. Undecided when
   * too many ask for such ones at once.
   */
  judge(document: KeyedDocument): Effect.Effect<StateVerdict, StoreError>
}>()("@valetkey/domain/ClientDocuments") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<ClientDocuments, never, DocumentTags | RegistrationStore> = Layer.effect(
    ClientDocuments,
    Effect.gen(function*() {
      const tags = yield* DocumentTags
      const registrations = yield* RegistrationStore
      const mayLook = makeAllowance(lookupsPerSecond)
      return ClientDocuments.of({
        judge: Effect.fnUntraced(function*({ clientId, context, key, tag }) {
          const verdict = tag === undefined
            ? "undecided"
            // A process without a key can still read the record.
            : yield* Effect.orElseSucceed(tags.judge(context, key, tag), () => "undecided" as const)
          if (verdict !== "undecided" || !(yield* mayLook)) return verdict
          return (yield* registrations.isOnRecord(clientId)) ? "ours" : "foreign"
        })
      })
    })
  )
}
