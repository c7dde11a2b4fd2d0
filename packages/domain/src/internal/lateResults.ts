import { Effect, Option } from "effect"
import { type Connection, sealContext } from "../Connection.ts"
import { Entropy } from "../Entropy.ts"
import { endingOf, RevocationOutbox } from "../RevocationOutbox.ts"
import { ReceiptId } from "../RevocationReceipt.ts"
import { RevocationReceipts } from "../RevocationReceipts.ts"
import type { SpoolEntry } from "../Spool.ts"
import { makeOwnRows } from "./ownRow.ts"

/** Builds what becomes of credentials that came too late to be stored. */
export const makeLateResults = Effect.gen(function*() {
  const connections = yield* makeOwnRows
  const entropy = yield* Entropy
  const outbox = yield* RevocationOutbox
  const receipts = yield* RevocationReceipts

  /** Whether the life of the connection that the credentials belong to was ended, and not merely followed by a new consent. */
  const hasEnded = Effect.fnUntraced(function*({ epoch, key, redeemed }: SpoolEntry, now: Option.Option<Connection>) {
    // Looked at after the row: who deletes that leaves the mark in the same step. Its grant lives on elsewhere.
    if (yield* receipts.isForgotten(key, epoch)) return false
    if (Option.isNone(now)) return true
    const { status } = now.value
    if (status._tag === "revoking" || status._tag === "quarantined") return true
    if (now.value.epoch === epoch) return false
    const id = ReceiptId.make(entropy.digestOf(endingOf(key, epoch, redeemed)))
    return Option.isSome(yield* receipts.get({ tenant: key.tenant, subject: key.subject, id }))
  })

  /**
   * Owes the revocation of tokens of a connection that ended. Beside newer credentials of the same grant they are left
   * alone: revoking them could reach that grant. So are those of a connection that was moved away. Idempotent.
   */
  return Effect.fnUntraced(function*(entry: SpoolEntry) {
    const { clientSecret, credentials, epoch, id, key, redeemed } = entry
    const now = yield* connections.get(key)
    if (!(yield* hasEnded(entry, now))) return
    const grant = entry.grant ?? Option.getOrUndefined(now)?.grant
    if (grant === undefined) {
      return yield* Effect.logWarning("late credentials of an ended connection name no server to revoke them at")
    }
    const context = (field: "access_token" | "refresh_token") => sealContext(key, epoch, field, redeemed + 1)
    yield* outbox.enqueue({
      id,
      key,
      grant,
      accessTokenExpiresAt: credentials.expiresAt,
      issuedAt: credentials.issuedAt,
      accessToken: { sealed: credentials.accessToken, context: context("access_token") },
      refreshToken: credentials.refreshToken === undefined
        ? undefined
        : { sealed: credentials.refreshToken, context: context("refresh_token") },
      clientSecret: clientSecret === undefined
        ? undefined
        : { sealed: clientSecret, context: sealContext(key, epoch, "client_secret", 0) }
    }).pipe(Effect.catchIf(
      ({ code }) => code === "tenant_deleted",
      () => Effect.logWarning("late credentials of a deleted tenant are dropped; nothing of it is stored any more")
    ))
  })
})
