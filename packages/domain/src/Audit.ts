import { Context, Duration, Effect, Layer, Option, Schedule } from "effect"
import { type ChainFault, faultOf } from "./AuditChain.ts"
import type { AuditEntry } from "./AuditEvent.ts"
import { type AuditHead, AuditLog } from "./AuditLog.ts"
import { type Digest, Entropy } from "./Entropy.ts"
import { Instance } from "./Instance.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** One event of a chain by its place and hash, as an earlier verification gave it. */
export interface ChainPin {
  readonly seq: number
  readonly hash: Digest
}

/** What a verification found. The head is worth keeping elsewhere: a later verification takes it as a pin. */
export interface AuditVerdict {
  /** Events that were read and hashed. */
  readonly events: number
  readonly head: AuditHead
  /** The first thing that is wrong and the place of the event that should be there; none when the chain is whole. */
  readonly fault: { readonly kind: ChainFault; readonly seq: number } | undefined
}

const page = 500
const prunePage = 1000

/** Use case: reading and verifying the record of what was done. */
export class Audit extends Context.Service<Audit, {
  /** Events of a tenant in the order of the chain, after the given one. */
  readonly list: AuditLog["Service"]["read"]
  /**
   * Reads a tenant's whole chain and hashes it anew. A pin that an earlier verification gave also shows a chain that was
   * rewritten or cut from its end on. What is appended meanwhile is left to the next verification.
   */
  verify(tenant: TenantId, pin?: ChainPin): Effect.Effect<AuditVerdict, StoreError>
}>()("@valetkey/domain/Audit") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<Audit, never, AuditLog | Entropy> = Layer.effect(
    Audit,
    Effect.gen(function*() {
      const log = yield* AuditLog
      const { digestOf } = yield* Entropy

      const walk = Effect.fnUntraced(function*(tenant: TenantId, head: AuditHead, pin: ChainPin | undefined) {
        let before: Pick<AuditHead, "seq" | "hash"> = head.anchor
        let events = 0
        const broken = (kind: ChainFault, seq: number): AuditVerdict => ({ events, head, fault: { kind, seq } })
        const isPinned = (at: ChainPin) => pin === undefined || pin.seq !== at.seq || pin.hash === at.hash
        if (!isPinned(head.anchor)) return broken("end_mismatch", head.anchor.seq)
        while (before.seq < head.seq) {
          const entries: ReadonlyArray<AuditEntry> = yield* log.read({ tenant, after: before.seq, limit: page })
          if (entries.length === 0) return broken("missing", before.seq + 1)
          for (const entry of entries) {
            if (before.seq === head.seq) break
            const fault = faultOf(digestOf, before, entry)
            if (fault !== undefined) return broken(fault, before.seq + 1)
            if (!isPinned(entry)) return broken("altered", entry.seq)
            before = entry
            events++
          }
        }
        if (before.hash !== head.hash || before.seq !== head.seq) return broken("end_mismatch", head.seq)
        if (pin !== undefined && pin.seq > head.seq) return broken("missing", head.seq + 1)
        const verdict: AuditVerdict = { events, head, fault: undefined }
        return verdict
      })

      return Audit.of({
        list: log.read,
        verify: Effect.fn("Audit.verify")(function*(tenant, pin) {
          while (true) {
            const head = yield* log.head(tenant)
            const verdict = yield* walk(tenant, head, pin)
            // Retention may have moved the beginning away while it was read.
            if (verdict.fault === undefined || (yield* log.head(tenant)).anchor.seq === head.anchor.seq) return verdict
          }
        })
      })
    })
  )

  /**
   * Layer that removes what is older than `retention`, hourly until the scope ends; the chains of another instance's
   * store stay. Each chain that became shorter says so itself, in events with the number of those that were removed.
   */
  static readonly layerRetention = (options: {
    readonly retention: Duration.Duration
  }): Layer.Layer<never, never, AuditLog> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const log = yield* AuditLog
      const instance = yield* Effect.serviceOption(Instance)
      const { retention: olderThan } = options
      yield* Effect.gen(function*() {
        if (Option.isSome(instance)) yield* instance.value.admitted
        while ((yield* log.prune({ olderThan, limit: prunePage })).length > 0) yield* Effect.yieldNow
      }).pipe(
        Effect.catchCause((cause) => Effect.logWarning("old audit events not removed", cause)),
        Effect.repeat(Schedule.jittered(Schedule.spaced(Duration.hours(1)))),
        Effect.forkScoped
      )
    }))
}
