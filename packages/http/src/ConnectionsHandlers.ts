import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { ConnectionView, DepositPayload } from "@valetkey/api/ConnectionsApi"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { Account } from "@valetkey/domain/Account"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { Connection, ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { Histories } from "@valetkey/domain/Histories"
import { Servers } from "@valetkey/domain/Servers"
import { DateTime, Effect, Fiber, FiberSet } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as ConnectionHistory from "./ConnectionHistory.ts"
import { conditionOf, depositOf, type Endpoints, endpointsOf, serverOf } from "./Deposits.ts"
import { orProblem } from "./DomainProblem.ts"
import { keyOf } from "./internal/callerKey.ts"

const defaultLimit = 50

/** A connection as its owner may see it. */
const viewOf = (connection: Connection, account: Account | undefined): ConnectionView => ({
  server: connection.key.server,
  status: connection.status._tag,
  ...(connection.status._tag === "needs_reauth" ? { reason: connection.status.reason } : {}),
  issuer: connection.grant.issuer,
  clientId: connection.grant.clientId,
  ...(account === undefined ? {} : { account }),
  tokenType: connection.credentials.tokenType,
  ...(connection.credentials.scopes === undefined ? {} : { scopes: connection.credentials.scopes }),
  ...(connection.credentials.expiresAt === undefined ? {} : { expiresAt: connection.credentials.expiresAt }),
  generation: connection.generation,
  createdAt: connection.createdAt,
  updatedAt: connection.updatedAt
})

/** Builds the view of a connection, with the account that it belongs to. */
export const makeView = (connections: Connections["Service"]) => (connection: Connection) =>
  Effect.map(connections.account(connection), (account) => viewOf(connection, account))

/** Codes of a redemption that is over and proved nothing. */
const unproved: ReadonlySet<string> = new Set([
  "authorization_server_unavailable",
  "client_misconfigured",
  "deposit_refused"
])

/** Why the credentials of a deposit are of no use: refused, or perhaps redeemed without an answer. */
const refused = ({ reason }: ApiProblem): ApiProblem =>
  ApiProblem.of(
    "deposit_refused",
    reason === "unknown_outcome"
      ? "The authorization server was asked and its answer is lost: these credentials may be used up; connect with consent"
      : "The authorization server refuses these credentials; deposit others, or connect with consent",
    reason === undefined ? {} : { reason }
  )

/** Nothing is proved, and nobody knows yet: the connection stays, and its next use tells. */
const undecided = ApiProblem.of(
  "deposit_refused",
  "The authorization server was asked and an answer of it is lost: these credentials may be used up, or be good; the connection is kept, and its next use tells",
  { reason: "unknown_outcome" }
)

/** Layer of the connection endpoints. Closing it waits for proofs under way, no longer than any of them may take. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "connections",
  Effect.fnUntraced(function*(handlers) {
    const connections = yield* Connections
    const histories = yield* Histories
    const accessTokens = yield* AccessTokens
    const authorizationServer = yield* AuthorizationServer
    const servers = yield* Servers

    const proofs = yield* FiberSet.make<unknown, unknown>()
    yield* Effect.addFinalizer(() =>
      FiberSet.awaitEmpty(proofs).pipe(Effect.timeoutOption(Deadlines.standard.waiter), Effect.ignore)
    )

    /** Runs in a fiber of the application: a caller that goes away changes nothing. */
    const toTheEnd = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.flatMap(FiberSet.run(proofs, effect), Fiber.join)

    const ask = (key: ConnectionKey, payload: DepositPayload): Effect.Effect<Endpoints, ApiProblem> =>
      Effect.map(
        orProblem(authorizationServer.discover(serverOf(key, payload))),
        ({ issuer, resource, revocationEndpoint, tokenEndpoint }) => ({
          issuer,
          tokenEndpoint,
          // As its metadata spells it, where that was asked; a connection that was consented to holds the same.
          ...(payload.issuer === undefined ? { resource } : {}),
          ...(revocationEndpoint === undefined ? {} : { revocationEndpoint })
        })
      )

    /** One redemption through the lease and the fence of any refresh. */
    const prove = (key: ConnectionKey) =>
      orProblem(accessTokens.get(key)).pipe(
        Effect.mapError((problem) => problem.code === "reauthorization_required" ? refused(problem) : problem)
      )

    /** The same, and nothing is kept of what it did not prove; credentials that came meanwhile are. */
    const proveOrForget = Effect.fnUntraced(function*(key: ConnectionKey) {
      const { generation } = yield* orProblem(connections.get(key))
      yield* Effect.catchIf(
        prove(key),
        ({ code }) => unproved.has(code),
        (problem) =>
          Effect.matchEffect(orProblem(connections.forget(key, generation)), {
            onSuccess: () => Effect.fail(problem),
            onFailure: ({ code }) => Effect.fail(code === "refresh_in_progress" ? undecided : problem)
          })
      )
    })

    const view = makeView(connections)

    return handlers.handleAll({
      list: Effect.fnUntraced(function*({ query }) {
        const { subject, tenant } = yield* CurrentPrincipal
        const limit = query.limit ?? defaultLimit
        const found = yield* orProblem(connections.list({ tenant, subject, after: query.after, limit: limit + 1 }))
        const page = found.slice(0, limit)
        return {
          connections: yield* Effect.forEach(page, view),
          ...(found.length > limit ? { next: page.at(-1)!.key.server } : {})
        }
      }),
      get: Effect.fnUntraced(function*({ params }) {
        return yield* view(yield* orProblem(connections.get(yield* keyOf(params.server))))
      }),
      history: Effect.fnUntraced(function*({ params, query }) {
        return yield* orProblem(ConnectionHistory.of(histories, yield* keyOf(params.server), query))
      }),
      deposit: Effect.fnUntraced(function*({ headers, params, payload }) {
        const key = yield* keyOf(params.server)
        const endpoints = endpointsOf(payload) ?? (yield* ask(key, payload))
        const { resource } = yield* orProblem(servers.rulesOf(key.tenant, key.server))
        const deposit = depositOf(
          payload,
          { ...endpoints, destination: payload.resource ?? resource },
          yield* DateTime.now
        )
        const store = orProblem(connections.deposit(key, deposit, conditionOf(payload, headers["if-match"])))
        const created = payload.verify !== true
          ? yield* store
          : payload.forgetUnproved === true
          ? yield* toTheEnd(Effect.tap(store, () => proveOrForget(key)))
          : yield* Effect.tap(store, () => prove(key))
        return { created, connection: yield* view(yield* orProblem(connections.get(key))) }
      }),
      disconnect: Effect.fnUntraced(function*({ params }) {
        yield* orProblem(connections.disconnect(yield* keyOf(params.server)))
      })
    })
  })
)
