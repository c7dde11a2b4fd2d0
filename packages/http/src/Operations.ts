import type { ApiProblem } from "@valetkey/api/ApiProblem"
import type { ConnectionView, HistoryView } from "@valetkey/api/ConnectionsApi"
import type { StartPayload } from "@valetkey/api/FlowsApi"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import type { ServerView } from "@valetkey/api/ServersApi"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { Account } from "@valetkey/domain/Account"
import type { AuditEntry } from "@valetkey/domain/AuditEvent"
import type { Connection } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { notYet } from "@valetkey/domain/Credentials"
import type { Digest } from "@valetkey/domain/Entropy"
import { Flows, type Started } from "@valetkey/domain/Flows"
import { type Forecast, forecastOf } from "@valetkey/domain/Forecast"
import { Histories } from "@valetkey/domain/Histories"
import type { Server, ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { DateTime, Effect } from "effect"
import { orProblem } from "./DomainProblem.ts"
import { keyOf } from "./internal/callerKey.ts"

/** What both the endpoints and the console do for whoever calls. Each is one endpoint of the contract, without its policy. */
export interface Operations {
  connections(query: PageQuery): Called<{ readonly connections: Array<ConnectionView>; readonly next?: ServerSlug }>
  connection(server: ServerSlug): Called<ConnectionView>
  history(
    server: ServerSlug,
    query: { readonly limit?: number | undefined; readonly before?: Digest | undefined }
  ): Called<HistoryView>
  disconnect(server: ServerSlug): Called<void>
  /** `back` is the page of ours where the person began, if it was one. */
  start(payload: StartPayload, back?: string): Called<Started>
  servers(query: PageQuery): Called<{ readonly servers: Array<ServerView>; readonly next?: ServerSlug }>
  /** Servers that the caller has no connection to. A page may hold none and have a next one: two reads make it, never more. */
  unconnected(query: PageQuery): Called<{ readonly servers: Array<ServerView>; readonly next?: ServerSlug }>
}

type Called<A> = Effect.Effect<A, ApiProblem, CurrentPrincipal>

interface PageQuery {
  readonly limit?: number | undefined
  readonly after?: ServerSlug | undefined
}

const defaultLimit = 50

/** Builds the operations over the use cases. */
export const make = Effect.gen(function*() {
  const connections = yield* Connections
  const histories = yield* Histories
  const flows = yield* Flows
  const servers = yield* Servers
  const tokens = yield* AccessTokens

  const view = makeView(connections, servers)

  /** Views of one owner's connections, with their last uses. */
  const used = Effect.fnUntraced(function*(page: ReadonlyArray<Connection>) {
    const uses = yield* orProblem(histories.lastUses(yield* CurrentPrincipal, page.map(({ key }) => key.server)))
    return yield* Effect.forEach(page, (connection) =>
      Effect.map(view(connection), (shown): ConnectionView => {
        const lastUsedAt = uses.get(connection.key.server)
        return { ...shown, ...(lastUsedAt === undefined ? {} : { lastUsedAt }) }
      }))
  })

  const operations: Operations = {
    connections: Effect.fnUntraced(function*({ after, limit = defaultLimit }) {
      const { subject, tenant } = yield* CurrentPrincipal
      const found = yield* orProblem(connections.list({ tenant, subject, after, limit: limit + 1 }))
      const page = found.slice(0, limit)
      return {
        connections: yield* used(page),
        ...(found.length > limit ? { next: page.at(-1)!.key.server } : {})
      }
    }),
    connection: Effect.fnUntraced(function*(server) {
      const found = yield* orProblem(connections.get(yield* keyOf(server)))
      return (yield* used([found]))[0]!
    }),
    history: Effect.fnUntraced(function*(server, { before, limit = defaultLimit }) {
      const key = yield* keyOf(server)
      const { events, next } = yield* orProblem(histories.of(key, { before, limit }))
      const lastUsedAt = (yield* orProblem(histories.lastUses(key, [server]))).get(server)
      return {
        events: events.map(eventView),
        ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
        ...(next === undefined ? {} : { next })
      }
    }),
    disconnect: Effect.fnUntraced(function*(server) {
      yield* orProblem(connections.disconnect(yield* keyOf(server)))
    }),
    start: Effect.fnUntraced(function*({ server, ...choice }, back) {
      const key = yield* keyOf(server)
      const started = yield* orProblem(flows.start(key, { ...choice, back }))
      // Where nobody consents nothing was asked yet: whoever connects learns whether the client is taken.
      if (started._tag !== "AlreadyConnected" || started.connection.grant.unattended === undefined) return started
      yield* orProblem(tokens.get(key))
      return { ...started, connection: yield* orProblem(connections.get(key)) }
    }),
    servers: Effect.fnUntraced(function*({ after, limit = defaultLimit }) {
      const { tenant } = yield* CurrentPrincipal
      const found = yield* orProblem(servers.list({ tenant, after, limit: limit + 1 }))
      const page = found.slice(0, limit)
      return { servers: page.map(serverView), ...(found.length > limit ? { next: page.at(-1)!.slug } : {}) }
    }),
    unconnected: Effect.fnUntraced(function*({ after, limit = defaultLimit }) {
      const { subject, tenant } = yield* CurrentPrincipal
      const found = yield* orProblem(servers.list({ tenant, after, limit: limit + 1 }))
      // More than there are servers, because a connection stays when its server is removed.
      const known = yield* orProblem(connections.list({ tenant, subject, after, limit: 2 * limit }))
      // Both are in the order of slugs. Beyond the last connection that was read nobody knows yet what is connected.
      const seen = known.length < 2 * limit ? undefined : known.at(-1)!.key.server
      const page = found.slice(0, limit).filter(({ slug }) => seen === undefined || slug <= seen)
      const connected = new Set(
        known.filter(({ status }) => status._tag !== "revoking").map(({ key }) => key.server)
      )
      const next = page.length < Math.min(found.length, limit)
        ? seen
        : found.length > limit
        ? page.at(-1)?.slug
        : undefined
      return {
        servers: page.filter(({ slug }) => !connected.has(slug)).map(serverView),
        ...(next === undefined ? {} : { next })
      }
    })
  }
  return operations
})

/** Builds the view of a connection, with the account that it belongs to and what is known of its end. */
export const makeView =
  (connections: Connections["Service"], servers: Servers["Service"]) =>
  (connection: Connection): Effect.Effect<ConnectionView, ApiProblem> =>
    Effect.zipWith(
      connections.account(connection),
      orProblem(servers.rulesOf(connection.key.tenant, connection.key.server)),
      (account, { refresh }) => viewOf(connection, account, forecastOf(connection, refresh))
    )

/** A connection as its owner may see it. */
const viewOf = (
  connection: Connection,
  account: Account | undefined,
  { endsAt, idlesOutAt }: Forecast
): ConnectionView => ({
  server: connection.key.server,
  status: connection.status._tag,
  ...(connection.status._tag === "needs_reauth" ? { reason: connection.status.reason } : {}),
  issuer: connection.grant.issuer,
  clientId: connection.grant.clientId,
  ...(account === undefined ? {} : { account }),
  tokenType: connection.credentials.tokenType,
  ...(connection.credentials.scopes === undefined ? {} : { scopes: connection.credentials.scopes }),
  ...(connection.credentials.expiresAt === undefined ? {} : {
    // A token that nobody obtained yet has ended before its connection was there.
    expiresAt: DateTime.Equivalence(connection.credentials.expiresAt, notYet)
      ? connection.createdAt
      : connection.credentials.expiresAt
  }),
  ...(endsAt === undefined && idlesOutAt === undefined ? {} : {
    forecast: {
      ...(idlesOutAt === undefined ? {} : { idlesOutAt }),
      ...(endsAt === undefined ? {} : { signInBefore: endsAt })
    }
  }),
  generation: connection.generation,
  createdAt: connection.createdAt,
  updatedAt: connection.updatedAt
})

/** A server as its tenant may see it. */
export const serverView = ({ client, slug, tenant: _, ...server }: Server): ServerView => ({
  ...server,
  server: slug,
  ...(client === undefined ? {} : {
    client: {
      clientId: client.clientId,
      authMethod: client.authMethod,
      ...(client.publicKey === undefined ? {} : { publicKey: client.publicKey }),
      ...(client.redirectUri === undefined ? {} : { redirectUri: client.redirectUri })
    }
  })
})

const eventView = (
  { hash, previous: _, seq: __, server: ___, subject: ____, target: _____, tenant: ______, ...event }: AuditEntry
): HistoryView["events"][number] => ({ id: hash, ...event })
