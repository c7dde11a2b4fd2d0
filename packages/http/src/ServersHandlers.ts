import { CurrentPrincipal } from "@valetkey/api/Principal"
import type { ServerView } from "@valetkey/api/ServersApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import type { Server } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { makeOperating } from "./internal/operating.ts"

const defaultLimit = 50

/** Layer of the server endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "servers",
  Effect.fnUntraced(function*(handlers) {
    const servers = yield* Servers
    const operating = yield* makeOperating
    return handlers.handleAll({
      list: Effect.fnUntraced(function*({ query }) {
        const { tenant } = yield* CurrentPrincipal
        const limit = query.limit ?? defaultLimit
        const found = yield* orProblem(servers.list({ tenant, after: query.after, limit: limit + 1 }))
        const page = found.slice(0, limit)
        return { servers: page.map(viewOf), ...(found.length > limit ? { next: page.at(-1)!.slug } : {}) }
      }),
      get: Effect.fnUntraced(function*({ params }) {
        const { tenant } = yield* CurrentPrincipal
        return viewOf(yield* orProblem(servers.get(tenant, params.server)))
      }),
      put: Effect.fnUntraced(function*({ params, payload }) {
        const { tenant } = yield* CurrentPrincipal
        const stored = yield* operating(
          "server.stored",
          params,
          orProblem(servers.put(tenant, params.server, { ...payload, quirks: payload.quirks ?? {} }))
        )
        return { created: stored.created, server: viewOf(stored.server) }
      }),
      remove: Effect.fnUntraced(function*({ params }) {
        const { tenant } = yield* CurrentPrincipal
        yield* operating("server.removed", params, orProblem(servers.remove(tenant, params.server)))
      })
    })
  })
)

/** A server as its tenant may see it. */
const viewOf = ({ client, slug, tenant: _, ...server }: Server): ServerView => ({
  ...server,
  server: slug,
  ...(client === undefined ? {} : {
    client: {
      clientId: client.clientId,
      authMethod: client.authMethod,
      ...(client.redirectUri === undefined ? {} : { redirectUri: client.redirectUri })
    }
  })
})
