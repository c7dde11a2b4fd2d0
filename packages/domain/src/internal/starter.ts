import { DateTime, Duration, Effect, Exit, Option, type Redacted, Scope } from "effect"
import type { CallbackReceived, CallbackRejected } from "../Authorization.ts"
import { AuthorizationServer, type AuthorizationServerMetadata } from "../AuthorizationServer.ts"
import { type CallbackTransport, CallbackTransports, type Delivery, type OpenTransport } from "../CallbackTransport.ts"
import * as Checkpoint from "../Checkpoint.ts"
import { Cipher, type CipherError } from "../Cipher.ts"
import * as CompareCode from "../CompareCode.ts"
import type { ConnectionKey } from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import { coversScopes, isFresh } from "../Credentials.ts"
import { Entropy } from "../Entropy.ts"
import { ReturnUrlError } from "../Finalization.ts"
import { type Flow, FlowId, sealContext } from "../Flow.ts"
import type { CallbackPlace, Started, StartOptions } from "../Flows.ts"
import { FlowPreempted, FlowStore, type Frozen } from "../FlowStore.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import type { Server, TokenEndpointAuthMethod } from "../Server.ts"
import { ServerNotFound, ServerStore } from "../ServerStore.ts"
import { flowTopic, Signals } from "../Signals.ts"
import { StateTags } from "../StateTags.ts"
import type { StoreError } from "../StoreError.ts"
import { makeAuditing } from "./auditing.ts"
import { callbackContext } from "./callbackContext.ts"
import { type Client, makeClients, suits } from "./clients.ts"
import type { Listeners } from "./listeners.ts"
import { refuseMoved } from "./movedEndpoints.ts"
import { nonceOf } from "./nonce.ts"

/** Builds `Flows.start`. */
export const makeStarter = Effect.fnUntraced(function*(options: {
  readonly ttl: Duration.Duration
  readonly listeners: Listeners
  /** What `returnTo` may be, to the letter. */
  readonly returnUrls: ReadonlyArray<string>
  complete(
    received: CallbackReceived,
    place: CallbackPlace
  ): Effect.Effect<Delivery, CallbackRejected | CipherError | StoreError>
}) {
  const { listeners, returnUrls, ttl } = options
  const servers = yield* ServerStore
  const flows = yield* FlowStore
  const connections = yield* ConnectionStore
  const authorizationServer = yield* AuthorizationServer
  const transports = yield* CallbackTransports
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const signals = yield* Signals
  const states = yield* StateTags
  const audit = yield* makeAuditing
  const clients = makeClients({ authorizationServer, cipher, entropy, registrations: yield* RegistrationStore })

  const start = Effect.fn("Flows.start")(function*(key: ConnectionKey, choice: StartOptions = {}) {
    yield* Effect.annotateCurrentSpan({ "valetkey.tenant": key.tenant, "valetkey.server": key.server })
    const refused = refuseReturn(choice, returnUrls)
    if (refused !== undefined) return yield* refused
    const server = yield* servers.get(key.tenant, key.server)
    if (Option.isNone(server)) return yield* new ServerNotFound()
    const connected = yield* connectedAlready(key, choice)
    if (connected !== undefined) return connected
    const transport = yield* transports.get(choice.transport ?? transports.preferred)
    const attempt: Attempt = { id: FlowId.make(yield* entropy.id), key, server: server.value, transport, choice }
    const foreseen = yield* foresee(attempt)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const reservation = yield* flows.reserve({
          id: attempt.id,
          key,
          transport: transport.kind,
          confirmation: choice.confirmation ?? "none",
          onConflict: choice.onConflict ?? "reject",
          ttl,
          frozen: foreseen?.frozen
          // Whoever does not hear the store's answer may hold the slot all the same.
        }).pipe(Effect.tapErrorTag("StoreError", () => undo(attempt.id)))
        if (reservation._tag === "Joined") return { _tag: "Joined", flow: reservation.flow } satisfies Started
        const { flow, superseded } = reservation
        if (superseded !== undefined) {
          yield* audit(key, "flow.settled", "superseded")
          yield* settledElsewhere(superseded)
        }
        return yield* restore(Effect.gen(function*() {
          yield* Checkpoint.reach("flow.reserved")
          const decided = foreseen ?? (yield* prepare(flow, attempt))
          yield* audit(key, "flow.started", flow.transport)
          return decided.started(flow)
        })).pipe(Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : undo(attempt.id)))
      })
    )
  })

  const connectedAlready = Effect.fnUntraced(function*(key: ConnectionKey, choice: StartOptions) {
    if (choice.reauthorize === true) return undefined
    const found = yield* connections.get(key)
    if (Option.isNone(found)) return undefined
    const { credentials, rejected, status } = found.value
    // Without a refresh token an expired or rejected one is the end of it: only the person can help.
    const usable = credentials.refreshToken !== undefined ||
      !rejected && isFresh(credentials, Duration.zero, yield* DateTime.now)
    return status._tag === "active" && usable && coversScopes(credentials.scopes, choice.scopes ?? [])
      ? { _tag: "AlreadyConnected", connection: found.value } satisfies Started
      : undefined
  })

  const settledElsewhere = (id: FlowId) => Effect.andThen(listeners.close(id), signals.notify(flowTopic(id)))

  const undo = (id: FlowId) =>
    flows.abandon(id).pipe(
      Effect.catchCause((cause) => Effect.logError("flow not abandoned; it expires by itself", cause)),
      Effect.andThen(settledElsewhere(id))
    )

  /**
   * What a flow is made of when nobody has to be asked and nothing opened for it: then it is reserved and frozen in one
   * step. Undefined when that takes more, which comes after the reservation.
   */
  const foresee = Effect.fnUntraced(function*(attempt: Attempt) {
    const { choice, server, transport } = attempt
    if (transport.stateless !== true || server.endpoints === undefined) return undefined
    const metadata = yield* authorizationServer.discover(server)
    const context = callbackContext(entropy, attempt.key)
    const registered = yield* clients.known(server, metadata, transport, context)
    const opened = yield* openOf(attempt, context, registered)
    const scopes = scopesOf(choice, server, metadata)
    return registered !== undefined && suits(registered, { redirectUri: opened.redirectUri, scopes })
      ? yield* decide(attempt, { metadata, context, client: registered, opened, scopes })
      : undefined
    // What goes wrong here goes wrong again after the reservation, which comes first for whoever joins or meets another.
  }, (foreseeing) => Effect.catch(Effect.scoped(foreseeing), () => Effect.undefined))

  /** Everything between the reservation and the URL; the scope of what it opens is closed by `undo` or by the flow's end. */
  const prepare = Effect.fnUntraced(function*(flow: Flow, attempt: Attempt) {
    const { choice, server, transport } = attempt
    const scope = transport.stateless === true ? undefined : yield* listeners.open(flow)
    const metadata = yield* authorizationServer.discover(server)
    yield* refuseMoved(connections, attempt.key, server, metadata)
    const context = callbackContext(entropy, attempt.key)
    const registered = yield* clients.known(server, metadata, transport, context)
    const opening = openOf(attempt, context, registered)
    const opened = yield* scope === undefined ? Effect.scoped(opening) : Scope.provide(opening, scope)
    const scopes = scopesOf(choice, server, metadata)
    const client = registered !== undefined && suits(registered, { redirectUri: opened.redirectUri, scopes })
      ? registered
      : yield* clients.obtain(server, metadata, transport, context, { redirectUri: opened.redirectUri, scopes })
    const decided = yield* decide(attempt, { metadata, context, client, opened, scopes })
    const { authorization, ticket } = decided.frozen
    if (!(yield* flows.freeze(flow.id, authorization, ticket))) return yield* new FlowPreempted({ id: flow.id })
    return decided
  })

  const openOf = ({ id, transport }: Attempt, context: string, registered: Client | undefined) =>
    transport.open({
      flowId: id,
      context,
      preferred: registered?.redirectUri,
      deliver: (received) => options.complete(received, { context })
    })

  /** Makes what only this flow has: state, verifier, ticket. Asks nobody. */
  const decide = Effect.fnUntraced(function*({ choice, id, key, server }: Attempt, found: {
    readonly metadata: AuthorizationServerMetadata
    readonly context: string
    readonly client: Client
    readonly opened: OpenTransport
    readonly scopes: ReadonlyArray<string>
  }) {
    const { client, context, metadata, opened: { connectUrl, redirectUri }, scopes } = found
    const state = yield* states.issue
    const codeVerifier = yield* entropy.secret
    const openid = asksForAccount(server, scopes)
    const resource = server.quirks.resourceParameter === false ? undefined : metadata.resource
    const authorizationUrl: Redacted.Redacted = yield* authorizationServer.authorizationUrl({
      authorizationEndpoint: metadata.authorizationEndpoint,
      clientId: client.clientId,
      redirectUri,
      scopes,
      resource,
      state,
      codeVerifier,
      ...(openid ? { nonce: nonceOf(entropy, codeVerifier) } : {}),
      parameters: server.quirks.authorizationParameters ?? {}
    })
    // An embedding application binds the person by itself, with the completion code.
    const offer = connectUrl === undefined || choice.confirmation === "finalize"
      ? undefined
      : { connectUrl, ticket: yield* entropy.secret }
    const frozen: Frozen = {
      authorization: {
        snapshot: {
          authorizationEndpoint: metadata.authorizationEndpoint,
          redirectUri,
          issRequired: metadata.issRequired,
          scopes,
          resource: server.resource,
          ...(choice.returnTo === undefined ? {} : { returnTo: choice.returnTo }),
          ...(openid ? { openid } : {}),
          ...(server.accountChange === undefined ? {} : { accountChange: server.accountChange })
        },
        grant: grantOf(server, metadata, client, resource),
        stateHash: entropy.digest(state),
        context,
        codeVerifier: yield* cipher.seal(sealContext(key.tenant, id, "code_verifier"), codeVerifier),
        ...(client.clientSecret === undefined
          ? {}
          : { clientSecret: yield* cipher.seal(sealContext(key.tenant, id, "client_secret"), client.clientSecret) })
      },
      ticket: offer && {
        ticketHash: entropy.digest(offer.ticket),
        authorizationUrl: yield* cipher.seal(sealContext(key.tenant, id, "authorization_url"), authorizationUrl)
      }
    }
    return {
      frozen,
      started: (flow: Flow): Started =>
        offer === undefined ? { _tag: "Started", flow, authorizationUrl } : {
          _tag: "Offered",
          flow,
          connectUrl: offer.connectUrl(offer.ticket),
          compareCode: CompareCode.ofTicket(entropy, offer.ticket)
        }
    }
  })

  return { start }
})

/** One start, from the choice on. */
interface Attempt {
  readonly id: FlowId
  readonly key: ConnectionKey
  readonly server: Server
  readonly transport: CallbackTransport
  readonly choice: StartOptions
}

const scopesOf = (choice: StartOptions, server: Server, metadata: AuthorizationServerMetadata): ReadonlyArray<string> =>
  choice.scopes ?? server.scopes ?? metadata.scopes ?? []

/**
 * Whether the answer is to say who signed in. Of endpoints that were given without their issuer nobody knows what an ID
 * token of theirs must say.
 */
const asksForAccount = ({ endpoints, issuer }: Server, scopes: ReadonlyArray<string>): boolean =>
  scopes.includes("openid") && (endpoints === undefined || issuer !== undefined)

/** A browser is sent nowhere but to a URL that the operator registered, and only where an application waits for it. */
const refuseReturn = (
  { confirmation, returnTo }: StartOptions,
  returnUrls: ReadonlyArray<string>
): ReturnUrlError | undefined => {
  if (confirmation !== "finalize") {
    return returnTo === undefined ? undefined : new ReturnUrlError({ code: "return_url_unexpected" })
  }
  if (returnTo === undefined) return new ReturnUrlError({ code: "return_url_missing" })
  return returnUrls.includes(returnTo) ? undefined : new ReturnUrlError({ code: "return_url_unregistered" })
}

const grantOf = (
  server: Server,
  metadata: AuthorizationServerMetadata,
  client: { readonly clientId: string; readonly authMethod: TokenEndpointAuthMethod },
  resource: string | undefined
) => ({
  issuer: metadata.issuer,
  tokenEndpoint: metadata.tokenEndpoint,
  ...(metadata.revocationEndpoint === undefined ? {} : { revocationEndpoint: metadata.revocationEndpoint }),
  clientId: client.clientId,
  authMethod: client.authMethod,
  ...(resource === undefined ? {} : { resource }),
  destination: server.resource,
  redemptionPolicy: server.quirks.redemptionPolicy ?? "retry-once"
} as const)
