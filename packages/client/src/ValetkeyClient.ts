import { type ApiKeyCreated, ApiKeyPayload, type ApiKeyView } from "@valetkey/api/ApiKeysApi"
import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { AuditEventView, AuditVerdictView } from "@valetkey/api/AuditApi"
import { Authorization } from "@valetkey/api/Authorization"
import type { ConnectionView, DepositPayload, HistoryEvent, HistoryView } from "@valetkey/api/ConnectionsApi"
import {
  type AlreadyConnected,
  type FlowJoined,
  type FlowOffered,
  type FlowStarted,
  type FlowVerifying,
  type FlowView,
  StartPayload
} from "@valetkey/api/FlowsApi"
import type { AddedKeyView, KeysView, RewrapView } from "@valetkey/api/KeysApi"
import type { RevocationView } from "@valetkey/api/RevocationsApi"
import type { ServerPayload, ServerView } from "@valetkey/api/ServersApi"
import type { ReadinessCheck } from "@valetkey/api/SystemApi"
import type { TokenPayload, TokenView } from "@valetkey/api/TokensApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Context, Duration, Effect, Layer, Option, type Redacted, Schema } from "effect"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import { type ClientError, UnexpectedResponse, Unreachable } from "./ClientError.ts"
import { reasonOf, Transport } from "./Transport.ts"

/** A Valetkey server, as its callers see it. */
export class ValetkeyClient extends Context.Service<ValetkeyClient, {
  /**
   * Starts a flow. `onConflict` and `reauthorize` say what an open flow or an active connection means. Show the compare
   * code of an offered one where the person started: the page behind its URL shows the same. Show the user code of a
   * verifying one to nobody but the person who started.
   */
  start(
    payload: Omit<StartPayload, "server"> & { readonly server: string }
  ): Effect.Effect<FlowStarted | FlowOffered | FlowVerifying | FlowJoined | AlreadyConnected, ClientError>
  /** A flow; waits up to `wait` for it to settle. */
  flow(id: FlowView["flowId"], options?: { readonly wait?: Duration.Input }): Effect.Effect<FlowView, ClientError>
  /** Idempotent; a settled flow stays as it is. */
  cancel(id: FlowView["flowId"]): Effect.Effect<void, ClientError>
  /** Hands over the address where a browser ended that cannot reach the redirect URI of a loopback flow, and gives the settled flow. */
  paste(id: FlowView["flowId"], url: Redacted.Redacted<string>): Effect.Effect<FlowView, ClientError>
  /** Continues a flow that waits for its consent with another transport; what was handed out before leads nowhere any more. */
  handOff(
    id: FlowView["flowId"],
    transport: FlowView["transport"]
  ): Effect.Effect<FlowStarted | FlowOffered | FlowVerifying, ClientError>
  /** Exchanges a held code, on behalf of the signed-in user whose browser brought the completion code to the return URL. */
  finalize(
    id: FlowView["flowId"],
    completionCode: Redacted.Redacted<string>
  ): Effect.Effect<FlowView, ClientError>
  /** Every connection, through all pages. */
  readonly connections: Effect.Effect<ReadonlyArray<ConnectionView>, ClientError>
  connection(server: string): Effect.Effect<ConnectionView, ClientError>
  /** What became of a connection, the latest first, 50 events at a time; what was before a place with `before`. */
  history(server: string, page?: { readonly before?: HistoryEvent["id"]; readonly limit?: number }): Effect.Effect<
    HistoryView,
    ClientError
  >
  /** Stores credentials obtained elsewhere; true when there was no connection. One that is there is overwritten with `replace`, or when it is at `ifGeneration`. */
  deposit(
    server: string,
    payload: DepositPayload,
    options?: { readonly ifGeneration?: number | undefined }
  ): Effect.Effect<boolean, ClientError>
  /** Refuses tokens at once and revokes. Idempotent. */
  disconnect(server: string): Effect.Effect<void, ClientError>
  /** Every revocation of the caller, or those of one server, newest first, through all pages. */
  revocations(server?: string): Effect.Effect<ReadonlyArray<RevocationView>, ClientError>
  /** A revocation; waits up to `wait` for it to be settled. */
  revocation(
    id: RevocationView["id"],
    options?: { readonly wait?: Duration.Input }
  ): Effect.Effect<RevocationView, ClientError>
  /**
   * A fresh access token. `rejected` is the one that the resource refused with 401, `proof` the request that it is for:
   * tokens that are bound to a key (RFC 9449) come with a proof of it or not at all.
   */
  token(server: string, options?: {
    readonly minValidity?: Duration.Input | undefined
    readonly rejected?: Redacted.Redacted<string> | undefined
    readonly proof?: TokenPayload["proof"] | undefined
  }): Effect.Effect<TokenView, ClientError>
  /** Every server, through all pages. */
  readonly servers: Effect.Effect<ReadonlyArray<ServerView>, ClientError>
  server(server: string): Effect.Effect<ServerView, ClientError>
  /** Creates or replaces; true when there was none. */
  putServer(server: string, payload: ServerPayload): Effect.Effect<boolean, ClientError>
  /** Connections to it stay. Idempotent. */
  removeServer(server: string): Effect.Effect<void, ClientError>
  /** Makes an API key. Its credential is in this answer alone. */
  createApiKey(payload: typeof ApiKeyPayload.Encoded): Effect.Effect<ApiKeyCreated, ClientError>
  /** Every API key of the tenant, through all pages; ended ones too. */
  readonly apiKeys: Effect.Effect<ReadonlyArray<ApiKeyView>, ClientError>
  /** Ends an API key for good. Idempotent. */
  revokeApiKey(id: string): Effect.Effect<void, ClientError>
  /** Audit events of the tenant after a place in its chain; `next` is where the following page begins. */
  audit(page?: { readonly after?: number; readonly limit?: number }): Effect.Effect<
    { readonly events: ReadonlyArray<AuditEventView>; readonly next?: number },
    ClientError
  >
  /** Has the tenant's chain hashed anew. `expect` is the `seq:hash` of a head that an earlier verification gave. */
  verifyAudit(expect?: string): Effect.Effect<AuditVerdictView, ClientError>
  /** The root keys of the installation. */
  readonly keys: Effect.Effect<KeysView, ClientError>
  /** Makes a key that opens and does not seal yet; with an `entry`, once that entry is configured on every replica. */
  readonly addKey: Effect.Effect<AddedKeyView, ClientError>
  /** Makes a key the one that seals. Idempotent. */
  promoteKey(id: number): Effect.Effect<void, ClientError>
  /** Seals under the primary key what others sealed, for about two seconds; call again until it is done. */
  readonly rewrapKeys: Effect.Effect<RewrapView, ClientError>
  /** Makes a key open nothing any more. Idempotent. */
  retireKey(id: number): Effect.Effect<void, ClientError>
  /** Whether the server can do its work, condition by condition. */
  readonly ready: Effect.Effect<
    { readonly ready: boolean; readonly checks: ReadonlyArray<ReadinessCheck> },
    ClientError
  >
}>()("@valetkey/client/ValetkeyClient") {
  /** Layer of the client over a transport. */
  static readonly layerNoDeps: Layer.Layer<ValetkeyClient, never, Transport> = Layer.effect(
    ValetkeyClient,
    Effect.gen(function*() {
      const transport = yield* Transport
      const { apiKeys, audit, connections, flows, keys, revocations, servers, system, tokens } = yield* HttpApiClient
        .makeWith(
          ValetkeyApi,
          {
            httpClient: HttpClient.transformResponse(transport.http, Effect.flatMap(refuse)),
            baseUrl: transport.baseUrl
          }
        ).pipe(Effect.provide(bearer(transport)))

      const call = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, ClientError> =>
        effect.pipe(
          Effect.timeoutOrElse({
            duration: patience,
            orElse: () => Effect.fail(new Unreachable({ address: transport.address, reason: "timeout" }))
          }),
          Effect.mapError((error) => translate(error, transport.address))
        )
      const named = <A, E>(server: string, use: (slug: ServerView["server"]) => Effect.Effect<A, E>) =>
        isSlug(server) ? call(use(server)) : Effect.fail(invalidName)

      return ValetkeyClient.of({
        start: (payload) => named(payload.server, (server) => flows.start({ payload: { ...payload, server } })),
        flow: (flowId, options) =>
          call(flows.status({
            params: { flowId },
            query: waiting(options)
          })),
        cancel: (flowId) => call(flows.cancel({ params: { flowId } })),
        paste: (flowId, url) => call(flows.paste({ params: { flowId }, payload: { url } })),
        handOff: (flowId, transport) => call(flows.handOff({ params: { flowId }, payload: { transport } })),
        finalize: (flowId, completionCode) => call(flows.finalize({ params: { flowId }, payload: { completionCode } })),
        connections: pages<ConnectionView, ServerView["server"]>((after) =>
          Effect.map(
            call(connections.list({ query: { limit: 100, ...after } })),
            (page) => ({ items: page.connections, next: page.next })
          )
        ),
        history: (name, page = {}) => named(name, (server) => connections.history({ params: { server }, query: page })),
        connection: (name) => named(name, (server) => connections.get({ params: { server } })),
        deposit: (name, payload, options) =>
          Effect.map(
            named(name, (server) =>
              connections.deposit({
                params: { server },
                headers: options?.ifGeneration === undefined ? {} : { "if-match": `"${options.ifGeneration}"` },
                payload
              })),
            ({ created }) => created
          ),
        disconnect: (name) => named(name, (server) => connections.disconnect({ params: { server } })),
        revocations: (name) => {
          const all = (server: { readonly server?: ServerView["server"] }) =>
            pages<RevocationView, RevocationView["id"]>((after) =>
              Effect.map(
                call(revocations.list({ query: { limit: 100, ...server, ...after } })),
                (page) => ({ items: page.revocations, next: page.next })
              )
            )
          return name === undefined ? all({}) : isSlug(name) ? all({ server: name }) : Effect.fail(invalidName)
        },
        revocation: (id, options) => call(revocations.get({ params: { id }, query: waiting(options) })),
        token: (name, options) =>
          named(name, (server) =>
            tokens.get({
              params: { server },
              payload: {
                ...(options?.minValidity === undefined
                  ? {}
                  : { minValiditySeconds: Math.ceil(Duration.toSeconds(options.minValidity)) }),
                ...(options?.rejected === undefined ? {} : { rejectedToken: options.rejected }),
                ...(options?.proof === undefined ? {} : { proof: options.proof })
              }
            })),
        servers: pages<ServerView, ServerView["server"]>((after) =>
          Effect.map(
            call(servers.list({ query: { limit: 100, ...after } })),
            (page) => ({ items: page.servers, next: page.next })
          )
        ),
        server: (name) => named(name, (server) => servers.get({ params: { server } })),
        putServer: (name, payload) =>
          Effect.map(
            named(name, (server) => servers.put({ params: { server }, payload })),
            ({ created }) => created
          ),
        removeServer: (name) => named(name, (server) => servers.remove({ params: { server } })),
        createApiKey: (wanted) =>
          decodeApiKeyPayload(wanted).pipe(
            Effect.mapError(() => invalidApiKey),
            Effect.flatMap((payload) => call(apiKeys.create({ payload })))
          ),
        apiKeys: pages<ApiKeyView, ApiKeyView["id"]>((after) =>
          Effect.map(
            call(apiKeys.list({ query: { limit: 100, ...after } })),
            (page) => ({ items: page.apiKeys, next: page.next })
          )
        ),
        revokeApiKey: (id) => call(apiKeys.revoke({ params: { id } })),
        audit: (page = {}) => call(audit.list({ query: page })),
        verifyAudit: (expect) => call(audit.verify({ query: expect === undefined ? {} : { expect } })),
        keys: call(keys.status({})),
        addKey: call(keys.add({})),
        promoteKey: (id) => call(keys.promote({ params: { id } })),
        rewrapKeys: call(keys.rewrap({})),
        retireKey: (id) => call(keys.retire({ params: { id } })),
        ready: call(system.ready({}))
      })
    })
  )

  /** Layer of the client of the server at a URL. */
  static readonly layerUrl = (options: {
    readonly url: string
    readonly token: Redacted.Redacted
  }): Layer.Layer<ValetkeyClient> => Layer.provide(ValetkeyClient.layerNoDeps, Transport.layerUrl(options))

  /** Layer of the client of the local server behind a socket. */
  static readonly layerSocket = (options: {
    readonly socket: string
    readonly tokenFile: string
  }): Layer.Layer<ValetkeyClient> => Layer.provide(ValetkeyClient.layerNoDeps, Transport.layerSocket(options))
}

/** Longer than the longest wait that a server grants: a refresh that somebody else runs. */
const patience = Duration.seconds(100)

const waiting = (options: { readonly wait?: Duration.Input } | undefined) =>
  options?.wait === undefined
    ? {}
    : { wait: Math.min(60, Math.max(0, Math.floor(Duration.toSeconds(options.wait)))) }

const isSlug = Schema.is(StartPayload.fields.server)

const invalidName = ApiProblem.of(
  "invalid_request",
  "A server's name is 1 to 63 characters of a-z, 0-9, '.', '_' or '-', beginning with a letter or digit"
)

const decodeApiKeyPayload = Schema.decodeEffect(ApiKeyPayload)

const invalidApiKey = ApiProblem.of(
  "invalid_request",
  "An API key needs a name of 1 to 255 characters, at least one scope, and a subject of printable ASCII if it has one"
)

const bearer = (transport: Transport["Service"]) =>
  HttpApiMiddleware.layerClient(
    Authorization,
    ({ next, request }) =>
      transport.credential.pipe(
        Effect.mapError((cause) =>
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
        ),
        Effect.flatMap((credential) => next(HttpClientRequest.bearerToken(request, credential)))
      )
  )

/** Fails with the problem that the server tells, whatever the status; another refusal keeps its status and nothing more. */
const refuse = Effect.fnUntraced(function*(response: HttpClientResponse.HttpClientResponse) {
  if (response.status >= 200 && response.status < 300) return response
  const body = yield* Effect.orElseSucceed(response.json, () => undefined)
  // Readiness answers 503 with its conditions.
  if (typeof body === "object" && body !== null && "ready" in body) return response
  const problem = yield* Effect.option(decodeProblem(body))
  return yield* new HttpClientError.HttpClientError({
    reason: new HttpClientError.StatusCodeError({
      request: response.request,
      response,
      ...(Option.isSome(problem) ? { cause: problem.value } : {})
    })
  })
})

const decodeProblem = Schema.decodeUnknownEffect(ApiProblem)

/** What the way to the server said, in the client's words. Nothing of a response's body goes along. */
const translate = (error: unknown, address: string): ClientError => {
  if (error instanceof ApiProblem || error instanceof Unreachable) return error
  if (!HttpClientError.isHttpClientError(error)) return new UnexpectedResponse({ address })
  const { reason } = error
  const cause = "cause" in reason ? reason.cause : undefined
  if (cause instanceof ApiProblem || cause instanceof Unreachable) return cause
  if (reason._tag === "TransportError") {
    const why = reasonOf(cause)
    if (why !== undefined) return new Unreachable({ address, reason: why })
  }
  return new UnexpectedResponse({
    address,
    ...(error.response === undefined ? {} : { status: error.response.status })
  })
}

interface Page<A, Cursor> {
  readonly items: ReadonlyArray<A>
  readonly next: Cursor | undefined
}

const pages = <A, Cursor>(
  load: (after: { readonly after?: Cursor }) => Effect.Effect<Page<A, Cursor>, ClientError>
): Effect.Effect<ReadonlyArray<A>, ClientError> =>
  Effect.gen(function*() {
    const all: Array<A> = []
    let page = yield* load({})
    all.push(...page.items)
    while (page.next !== undefined) {
      page = yield* load({ after: page.next })
      all.push(...page.items)
    }
    return all
  })
