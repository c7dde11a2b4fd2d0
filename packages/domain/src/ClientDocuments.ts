import { Context, Effect, Layer } from "effect"
import { DocumentTags } from "./DocumentTags.ts"
import { makeAllowance } from "./internal/allowance.ts"
import { RegistrationStore } from "./RegistrationStore.ts"
import type { StateVerdict } from "./StateTags.ts"
import type { StoreError } from "./StoreError.ts"

/** How many documents a process looks up in vain in a second: anybody can ask for one, and each costs a query. */
const missesPerSecond = 50

/** How many client ids that were on record a process remembers. */
const remembered = 4096

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
   * any more, only the record of those that this installation issued can tell; what is on record is remembered. Undecided
   * when too many ask at once for what is not.
   */
  judge(document: KeyedDocument): Effect.Effect<StateVerdict, StoreError>
}>()("@valetkey/domain/ClientDocuments") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<ClientDocuments, never, DocumentTags | RegistrationStore> = Layer.effect(
    ClientDocuments,
    Effect.gen(function*() {
      const tags = yield* DocumentTags
      const registrations = yield* RegistrationStore
      const lookups = makeAllowance(missesPerSecond)
      const found = new Set<string>()
      return ClientDocuments.of({
        judge: Effect.fnUntraced(function*({ clientId, context, key, tag }) {
          const verdict = tag === undefined
            ? "undecided"
            // A process without a key can still read the record.
            : yield* Effect.orElseSucceed(tags.judge(context, key, tag), () => "undecided" as const)
          if (verdict !== "undecided") return verdict
          if (found.has(clientId)) return "ours"
          if (!(yield* lookups.take)) return "undecided"
          if (!(yield* registrations.isOnRecord(clientId))) return "foreign"
          yield* lookups.giveBack
          if (found.size >= remembered) found.clear()
          found.add(clientId)
          return "ours"
        })
      })
    })
  )
}
