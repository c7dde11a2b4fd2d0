import { type ApiKeyCreated, apiKeyLifetime, type ApiKeyView } from "@valetkey/api/ApiKeysApi"
import { ApiProblem } from "@valetkey/api/ApiProblem"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { type ApiKey, ApiKeyId } from "@valetkey/domain/ApiKey"
import { ApiKeyNotFound, ApiKeys } from "@valetkey/domain/ApiKeys"
import { Duration, Effect, Option, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { scopesOf } from "./internal/apiKeyScopes.ts"
import { makeOperating } from "./internal/operating.ts"

const defaultLimit = 50

const decodeId = Schema.decodeUnknownOption(ApiKeyId)

/** Layer of the API key endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "apiKeys",
  Effect.fnUntraced(function*(handlers) {
    const apiKeys = yield* ApiKeys
    const operating = yield* makeOperating
    return handlers.handleAll({
      create: Effect.fnUntraced(function*({ payload }) {
        const principal = yield* CurrentPrincipal
        const missing = payload.scopes.filter((scope) => !principal.scopes.includes(scope))
        // Else whoever may make keys could give itself every scope.
        if (missing.length > 0) {
          return yield* ApiProblem.of(
            "forbidden",
            "A key may have no scope that its maker lacks; leave it out, or ask somebody who has it",
            { requiredScopes: missing }
          )
        }
        const { credential, key } = yield* operating(
          "api_key.created",
          ({ key }) => ({ target: key.id }),
          orProblem(apiKeys.create({
            tenant: principal.tenant,
            subject: payload.subject ?? principal.subject,
            name: payload.name,
            scopes: payload.scopes,
            lifetime: Duration.seconds(payload.expiresInSeconds ?? apiKeyLifetime.usual)
          }))
        )
        return { credential, apiKey: viewOf(key) } satisfies ApiKeyCreated
      }),
      list: Effect.fnUntraced(function*({ query }) {
        const { tenant } = yield* CurrentPrincipal
        const limit = query.limit ?? defaultLimit
        const found = yield* orProblem(apiKeys.list({ tenant, after: query.after, limit: limit + 1 }))
        const page = found.slice(0, limit)
        return { apiKeys: page.map(viewOf), ...(found.length > limit ? { next: page.at(-1)!.id } : {}) }
      }),
      revoke: Effect.fnUntraced(function*({ params }) {
        const { tenant } = yield* CurrentPrincipal
        const id = decodeId(params.id)
        // What is no id may be a whole credential, and is not written down.
        yield* operating(
          "api_key.revoked",
          { target: Option.getOrUndefined(id) },
          orProblem(Option.isNone(id) ? Effect.fail(new ApiKeyNotFound()) : apiKeys.revoke(tenant, id.value))
        )
      })
    })
  })
)

const viewOf = (key: ApiKey): ApiKeyView => ({
  id: key.id,
  name: key.name,
  subject: key.subject,
  scopes: scopesOf(key),
  createdAt: key.createdAt,
  expiresAt: key.expiresAt,
  ...(key.revokedAt === undefined ? {} : { revokedAt: key.revokedAt }),
  ...(key.lastUsedAt === undefined ? {} : { lastUsedAt: key.lastUsedAt })
})
