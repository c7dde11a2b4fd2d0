import type { TokenView } from "@valetkey/api/TokensApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import type { AccessToken, AccessTokenError } from "@valetkey/domain/AccessToken"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ServerSlug } from "@valetkey/domain/Server"
import { Duration, Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { keyOf } from "./internal/callerKey.ts"

/** Layer of the token endpoint. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "tokens",
  Effect.fnUntraced(function*(handlers) {
    const accessTokens = yield* AccessTokens
    return handlers.handleAll({
      get: Effect.fnUntraced(function*({ params, payload }) {
        const key = yield* keyOf(params.server)
        const token = accessTokens.get(key, {
          minValidity: payload?.minValiditySeconds === undefined
            ? undefined
            : Duration.seconds(payload.minValiditySeconds),
          rejected: payload?.rejectedToken
        })
        return viewOf(yield* Effect.catch(token, (error) => refusal(error, params.server)))
      })
    })
  })
)

const viewOf = (token: AccessToken): TokenView => ({
  accessToken: token.accessToken,
  tokenType: token.tokenType,
  ...(token.expiresAt === undefined ? {} : { expiresAt: token.expiresAt }),
  ...(token.scopes === undefined ? {} : { scopes: token.scopes }),
  generation: token.generation
})

/** A caller that needs the person again is told the request that starts it. */
const refusal = (error: AccessTokenError, server: ServerSlug) =>
  orProblem(
    Effect.fail(error),
    error.code === "reauthorization_required"
      ? { reauthorize: { method: "POST", href: "/v1/flows", body: { server, reauthorize: true } } }
      : {}
  )
