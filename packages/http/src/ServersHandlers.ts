import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Flows } from "@valetkey/domain/Flows"
import { ResourceServer } from "@valetkey/domain/ResourceServer"
import type { Server } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { makeOperating } from "./internal/operating.ts"
import { tryKey } from "./internal/signingKeys.ts"
import * as Operations from "./Operations.ts"

/** Layer of the server endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "servers",
  Effect.fnUntraced(function*(handlers) {
    const servers = yield* Servers
    const resources = yield* ResourceServer
    const operating = yield* makeOperating
    const operations = yield* Operations.make
    const flows = yield* Flows
    const withRedirectUri = (server: Server) =>
      Effect.map(flows.redirectUri(server.tenant, server.slug), (gatewayRedirectUri) => ({
        ...Operations.serverView(server),
        ...(gatewayRedirectUri === undefined ? {} : { gatewayRedirectUri })
      }))
    return handlers.handleAll({
      list: ({ query }) => operations.servers(query),
      get: Effect.fnUntraced(function*({ params }) {
        const { tenant } = yield* CurrentPrincipal
        return yield* withRedirectUri(yield* orProblem(servers.get(tenant, params.server)))
      }),
      put: Effect.fnUntraced(function*({ params, payload }) {
        const { tenant } = yield* CurrentPrincipal
        const { client } = payload
        if (client?.authMethod === "private_key_jwt") yield* tryKey(["client", "clientSecret"], client.clientSecret)
        const stored = yield* operating(
          "server.stored",
          params,
          orProblem(Effect.andThen(
            resources.admits(payload.resource),
            servers.put(tenant, params.server, { ...payload, quirks: payload.quirks ?? {} })
          ))
        )
        return { created: stored.created, server: yield* withRedirectUri(stored.server) }
      }),
      remove: Effect.fnUntraced(function*({ params }) {
        const { tenant } = yield* CurrentPrincipal
        yield* operating("server.removed", params, orProblem(servers.remove(tenant, params.server)))
      })
    })
  })
)
