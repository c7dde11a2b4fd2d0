import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { DepositPayload } from "@valetkey/api/ConnectionsApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { Servers } from "@valetkey/domain/Servers"
import { DateTime, Effect, Fiber, FiberSet } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { conditionOf, depositOf, type Endpoints, endpointsOf, serverOf } from "./Deposits.ts"
import { orProblem } from "./DomainProblem.ts"
import { keyOf } from "./internal/callerKey.ts"
import { tryKey } from "./internal/signingKeys.ts"
import * as Operations from "./Operations.ts"

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
    const operations = yield* Operations.make
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

    const view = Operations.makeView(connections, servers)

    return handlers.handleAll({
      list: ({ query }) => operations.connections(query),
      get: ({ params }) => operations.connection(params.server),
      history: ({ params, query }) => operations.history(params.server, query),
      deposit: Effect.fnUntraced(function*({ headers, params, payload }) {
        const key = yield* keyOf(params.server)
        yield* tryKey(["proofKey"], payload.proofKey)
        if (payload.authMethod === "private_key_jwt") yield* tryKey(["clientSecret"], payload.clientSecret)
        const endpoints = endpointsOf(payload) ?? (yield* ask(key, payload))
        const { dialect, resource, tokens: custody } = yield* orProblem(servers.rulesOf(key.tenant, key.server))
        const deposit = depositOf(
          payload,
          { ...endpoints, destination: payload.resource ?? resource, custody, dialect },
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
      disconnect: ({ params }) => operations.disconnect(params.server)
    })
  })
)
