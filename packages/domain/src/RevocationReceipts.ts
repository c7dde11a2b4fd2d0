import { Context, type Duration, type Effect, type Option } from "effect"
import type { ConnectionKey, Epoch } from "./Connection.ts"
import type { ReceiptId, RevocationReceipt } from "./RevocationReceipt.ts"
import type { ServerSlug } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/**
 * Port: what became of revocations. `RevocationOutbox` writes a receipt in the same step as the entry that it tells of,
 * whoever adds, retries or settles that. A receipt is found by its owner alone.
 */
export class RevocationReceipts extends Context.Service<RevocationReceipts, {
  /** One read. */
  get(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly id: ReceiptId
  }): Effect.Effect<Option.Option<RevocationReceipt>, StoreError>
  /** A page of the owner's receipts, newest first, after the given one; those of one server when it is named. */
  list(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly server: ServerSlug | undefined
    readonly after: ReceiptId | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<RevocationReceipt>, StoreError>
  /**
   * Whether `ConnectionStore.forget` gave up this life of the connection: its grant belongs to whoever keeps the
   * credentials now, and nothing of it is revoked. The mark is no receipt, nobody lists it, and `sweep` removes it in time.
   */
  isForgotten(key: ConnectionKey, epoch: Epoch): Effect.Effect<boolean, StoreError>
  /**
   * Removes receipts that were settled, and marks that were made, longer ago, at most `limit`; returns how many. What the
   * outbox still holds keeps its receipt however old it is.
   */
  sweep(input: { readonly olderThan: Duration.Duration; readonly limit: number }): Effect.Effect<number, StoreError>
}>()("@valetkey/domain/RevocationReceipts") {}
