import type { AuditEventView, AuditVerdictView } from "@valetkey/api/AuditApi"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Audit, type AuditVerdict, type ChainPin } from "@valetkey/domain/Audit"
import type { AuditEntry } from "@valetkey/domain/AuditEvent"
import { Digest } from "@valetkey/domain/Entropy"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"

const defaultLimit = 50

/** Layer of the audit endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "audit",
  Effect.fnUntraced(function*(handlers) {
    const audit = yield* Audit
    return handlers.handleAll({
      list: Effect.fnUntraced(function*({ query }) {
        const { tenant } = yield* CurrentPrincipal
        const limit = query.limit ?? defaultLimit
        const found = yield* orProblem(audit.list({ tenant, after: query.after ?? 0, limit: limit + 1 }))
        const page = found.slice(0, limit)
        return { events: page.map(viewOf), ...(found.length > limit ? { next: page.at(-1)!.seq } : {}) }
      }),
      verify: Effect.fnUntraced(function*({ query }) {
        const { tenant } = yield* CurrentPrincipal
        return verdictOf(yield* orProblem(audit.verify(tenant, pinOf(query.expect))))
      })
    })
  })
)

/** An event as its tenant's operator may see it. */
const viewOf = ({ previous: _, tenant: __, ...entry }: AuditEntry): AuditEventView => entry

const verdictOf = ({ events, fault, head: { anchor, hash, seq } }: AuditVerdict): AuditVerdictView => ({
  intact: fault === undefined,
  events,
  head: { seq, hash },
  anchor,
  ...(fault === undefined ? {} : { fault })
})

const pinOf = (expect: string | undefined): ChainPin | undefined => {
  const [seq, hash] = expect?.split(":") ?? []
  return seq === undefined || hash === undefined ? undefined : { seq: Number(seq), hash: Digest.make(hash) }
}
