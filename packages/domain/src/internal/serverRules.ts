import { Clock, Effect, Option } from "effect"
import { refreshTermsOf } from "../RefreshTerms.ts"
import { rowOf } from "../Sealed.ts"
import type { ServerSlug } from "../Server.ts"
import type { ServerRules } from "../Servers.ts"
import type { ServerStore } from "../ServerStore.ts"
import type { StoreError } from "../StoreError.ts"
import type { TenantId } from "../Tenant.ts"

const lifetimeMillis = 1000
const capacity = 10_000

/** Keeps what holds for the tokens of each server for a second, and not beyond a change that is made here. */
export const makeRules = (store: ServerStore["Service"]) =>
  Effect.sync(() => {
    const known = new Map<string, { readonly rules: ServerRules; readonly until: number }>()
    let changes = 0

    const of = (tenant: TenantId, slug: ServerSlug): Effect.Effect<ServerRules, StoreError> => {
      const key = rowOf(tenant, slug)
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const found = known.get(key)
        if (found !== undefined && found.until > now) return Effect.succeed(found.rules)
        const before = changes
        return Effect.map(store.get(tenant, slug), (server) => {
          const rules: ServerRules = Option.isNone(server)
            ? { resource: undefined, tokens: "handed_out", refresh: refreshTermsOf({}) }
            : {
              resource: server.value.resource,
              tokens: server.value.tokens ?? "handed_out",
              refresh: refreshTermsOf(server.value),
              dialect: server.value.quirks.tokenDialect
            }
          if (known.size >= capacity) known.delete(known.keys().next().value!)
          // What was read while somebody wrote may be the former one.
          if (before === changes) known.set(key, { rules, until: now + lifetimeMillis })
          return rules
        })
      })
    }

    const changing = <A>(tenant: TenantId, slug: ServerSlug, change: Effect.Effect<A, StoreError>) =>
      Effect.ensuring(
        change,
        Effect.sync(() => {
          changes++
          known.delete(rowOf(tenant, slug))
        })
      )

    return { of, changing }
  })
