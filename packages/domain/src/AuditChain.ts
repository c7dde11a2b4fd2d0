import { DateTime } from "effect"
import type { AuditEntry, AuditEvent } from "./AuditEvent.ts"
import type { AuditHead } from "./AuditLog.ts"
import { Digest } from "./Entropy.ts"
import { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Computes SHA-256 of a text, base64url without padding: `Entropy.digestOf`, or a store's own. */
export type Hasher = (text: string) => Digest

/** What the first event of every chain takes for the hash of the one before it. */
export const genesis: Digest = Digest.make("A".repeat(43))

/** The ends of a chain that holds nothing. */
export const empty: AuditHead = { seq: 0, hash: genesis, anchor: { seq: 0, hash: genesis } }

/**
 * The canonical text of an event, the hash of the one before it included: an array in JSON, in this order. A target is
 * one element more, and a provider's answer another one after it, so that the hashes of events without them are what they
 * were before there were any.
 */
export const canonical = (entry: Omit<AuditEntry, "hash">): string =>
  JSON.stringify([
    "valetkey/audit/v1",
    entry.previous,
    entry.tenant,
    entry.seq,
    DateTime.toEpochMillis(entry.at),
    entry.subject,
    entry.server ?? null,
    entry.action,
    entry.outcome,
    entry.principal,
    entry.from,
    entry.generation ?? null,
    entry.fingerprint ?? null,
    entry.count ?? null,
    ...(entry.target === undefined && entry.answer === undefined ? [] : [entry.target ?? null]),
    ...(entry.answer === undefined ? [] : [entry.answer])
  ])

/** Links events to the end of a chain. Stores run it in the step that holds the chain's head. */
export const link = (
  hasher: Hasher,
  head: Pick<AuditHead, "seq" | "hash">,
  events: ReadonlyArray<AuditEvent>,
  now: number
): ReadonlyArray<AuditEntry> => {
  let { hash, seq } = head
  return events.map((event) => {
    const entry = { ...event, seq: ++seq, at: DateTime.makeUnsafe(now), previous: hash }
    hash = hasher(canonical(entry))
    return { ...entry, hash }
  })
}

/** What a chain says of events that retention removed from its beginning. Stores link it in the step that removes them. */
export const prunedEvent = (tenant: TenantId, count: number): AuditEvent => ({
  tenant,
  subject: SubjectId.make("system"),
  action: "audit.pruned",
  outcome: "ok",
  principal: "system",
  from: "process",
  count
})

/** The events of each tenant, tenants in one order everywhere so that two writers never wait for each other. */
export const byTenant = (
  events: ReadonlyArray<AuditEvent>
): ReadonlyArray<readonly [TenantId, ReadonlyArray<AuditEvent>]> => {
  const groups = new Map<TenantId, Array<AuditEvent>>()
  for (const event of events) {
    const group = groups.get(event.tenant)
    if (group === undefined) groups.set(event.tenant, [event])
    else group.push(event)
  }
  return [...groups].sort(([one], [other]) => one < other ? -1 : 1)
}

/** How a chain is broken: an event is missing, its content was altered, it does not follow the one before, or the end is not the recorded one. */
export type ChainFault = "missing" | "altered" | "unlinked" | "end_mismatch"

/** Whether an entry is the one that follows; undefined when it is. */
export const faultOf = (
  hasher: Hasher,
  before: Pick<AuditHead, "seq" | "hash">,
  entry: AuditEntry
): ChainFault | undefined =>
  entry.seq !== before.seq + 1
    ? "missing"
    : entry.previous !== before.hash
    ? "unlinked"
    : hasher(canonical(entry)) !== entry.hash
    ? "altered"
    : undefined
