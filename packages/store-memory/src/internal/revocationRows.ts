import type { OwedRevocation } from "@valetkey/domain/RevocationOutbox"
import {
  ReceiptId,
  type RevocationCause,
  type RevocationProgress,
  type RevocationReceipt,
  type TokenRevocation
} from "@valetkey/domain/RevocationReceipt"
import { DateTime } from "effect"
import { hash } from "node:crypto"
import type { MemoryWorld } from "../MemoryWorld.ts"

/** The name of an entry's receipt. */
export const receiptIdOf = (id: string): ReceiptId => ReceiptId.make(hash("sha256", id, "base64url"))

/** Adds an entry that is due at once, with its receipt; one that is there already stays as it is. */
export const owe = (
  world: MemoryWorld["Service"],
  { accessTokenExpiresAt, ...entry }: OwedRevocation,
  cause: RevocationCause,
  now: number
): void => {
  if (world.outbox.has(entry.id)) return
  world.outbox.set(entry.id, { revocation: { ...entry, attempts: 0 }, dueAt: now })
  const id = receiptIdOf(entry.id)
  if (world.receipts.has(id)) return
  world.receipts.set(id, {
    id,
    key: entry.key,
    cause,
    createdAt: DateTime.makeUnsafe(now),
    attempts: 0,
    ...(entry.accessToken === undefined ? {} : { accessToken: "pending" }),
    ...(entry.refreshToken === undefined ? {} : { refreshToken: "pending" }),
    ...(accessTokenExpiresAt === undefined ? {} : { accessTokenExpiresAt }),
    nextAttemptAt: DateTime.makeUnsafe(now)
  })
}

/** Writes what attempts have brought; with `end` what is pending is given up. */
export const note = (
  world: MemoryWorld["Service"],
  id: string,
  attempts: number,
  progress: RevocationProgress | undefined,
  time: { readonly next: number } | { readonly end: number }
): void => {
  const receipt = world.receipts.get(receiptIdOf(id))
  if (receipt === undefined) return
  const { accessToken, error, nextAttemptAt: _, refreshToken, ...rest } = receipt
  const told = (before: TokenRevocation | undefined, now: TokenRevocation | undefined) => {
    const outcome = before === "confirmed" ? before : now ?? before
    return "end" in time && outcome === "pending" ? "given_up" : outcome
  }
  const next: RevocationReceipt = {
    ...rest,
    attempts,
    ...present("accessToken", told(accessToken, progress?.accessToken)),
    ...present("refreshToken", told(refreshToken, progress?.refreshToken)),
    ...present("error", progress === undefined ? error : progress.error),
    ...("end" in time
      ? { settledAt: DateTime.makeUnsafe(time.end) }
      : { nextAttemptAt: DateTime.makeUnsafe(time.next) })
  }
  world.receipts.set(receipt.id, next)
}

const present = <const Name extends string, A>(name: Name, value: A | undefined) =>
  (value === undefined ? {} : { [name]: value }) as { readonly [Key in Name]?: A }
