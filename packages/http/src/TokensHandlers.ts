import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { TokenView } from "@valetkey/api/TokensApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import type { AccessToken, AccessTokenError } from "@valetkey/domain/AccessToken"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ProxyError } from "@valetkey/domain/ResourceProxy"
import { ResourceServer } from "@valetkey/domain/ResourceServer"
import type { ServerSlug } from "@valetkey/domain/Server"
import { type ServerRules, Servers } from "@valetkey/domain/Servers"
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
    const servers = yield* Servers
    const resources = yield* ResourceServer
    return handlers.handleAll({
      get: Effect.fnUntraced(function*({ params, payload }) {
        const key = yield* keyOf(params.server)
        const rules = yield* orProblem(servers.rulesOf(key.tenant, key.server))
        if (rules.tokens === "proxied") return yield* withheld
        const token = accessTokens.get(key, {
          minValidity: payload?.minValiditySeconds === undefined
            ? undefined
            : Duration.seconds(payload.minValiditySeconds),
          rejected: payload?.rejectedToken
        })
        const found = yield* Effect.catch(token, (error) => refusal(error, params.server))
        const { proofKey } = found
        const view = viewOf(found, rules)
        if (proofKey === undefined) return view
        if (payload?.proof === undefined) return yield* bound
        const { method, nonce, url } = payload.proof
        if (view.resource === undefined || !isBelow(view.resource, url)) return yield* misdirected
        const { accessToken } = found
        return { ...view, proof: yield* resources.prove({ accessToken, proofKey, method, url: new URL(url), nonce }) }
      })
    })
  })
)

const withheld = ApiProblem.of(
  "token_not_handed_out",
  "Access tokens of this server stay here; send the request through /v1/proxy/{server} instead"
)

const bound = ApiProblem.of(
  "token_not_handed_out",
  "Access tokens of this connection are bound to a key that stays here (RFC 9449); send the request through /v1/proxy/{server}, or name it in `proof`"
)

const misdirected = ApiProblem.of(
  "token_not_handed_out",
  "The token is not for the URL of `proof`; name a request to the server's resource"
)

/** Whether a URL is of the origin that a token is for. */
const isBelow = (resource: string, url: string): boolean => new URL(resource).origin === new URL(url).origin

const viewOf = (token: AccessToken, { resource }: ServerRules): TokenView => ({
  accessToken: token.accessToken,
  tokenType: token.tokenType,
  ...(token.expiresAt === undefined ? {} : { expiresAt: token.expiresAt }),
  ...(token.scopes === undefined ? {} : { scopes: token.scopes }),
  generation: token.generation,
  ...resourceOf(token, resource)
})

/** What was consented to says where a token may go; what the operator says now is for what was deposited without a word. */
export const resourceOf = ({ destination }: AccessToken, described: string | undefined) => {
  const resource = destination ?? described
  return resource === undefined ? {} : { resource }
}

/** A caller that needs the person again is told the request that starts it. */
export const refusal = (error: AccessTokenError | ProxyError, server: ServerSlug) =>
  orProblem(
    Effect.fail(error),
    error.code === "reauthorization_required" || error.code === "insufficient_scope"
      ? {
        reauthorize: {
          method: "POST",
          href: "/v1/flows",
          body: {
            server,
            reauthorize: true,
            ...("scopes" in error && error.scopes !== undefined ? { scopes: error.scopes } : {})
          }
        }
      }
      : {}
  )
