import { DateTime, Duration, Effect, Exit, Option, type Redacted, Scope } from "effect"
import type { CallbackReceived, CallbackRejected } from "../Authorization.ts"
import { AuthorizationServer, type AuthorizationServerMetadata } from "../AuthorizationServer.ts"
import { type CallbackTransport, CallbackTransports, type Delivery } from "../CallbackTransport.ts"
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
import { FlowPreempted, FlowStore } from "../FlowStore.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import type { Server, TokenEndpointAuthMethod } from "../Server.ts"
import { ServerNotFound, ServerStore } from "../ServerStore.ts"
import { flowTopic, Signals } from "../Signals.ts"
import { StateTags } from "../StateTags.ts"
import type { StoreError } from "../StoreError.ts"
import { makeAuditing } from "./auditing.ts"
import { callbackContext } from "./callbackContext.ts"
import { makeClients, suits } from "./clients.ts"
import type { Listeners } from "./listeners.ts"

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
  const clients = makeClients({ authorizationServer, cipher, registrations: yield* RegistrationStore })

  const start = Effect.fn("Flows.start")(function*(key: ConnectionKey, choice: StartOptions = {}) {
    yield* Effect.annotateCurrentSpan({ "valetkey.tenant": key.tenant, "valetkey.server": key.server })
    const refused = refuseReturn(choice, returnUrls)
    if (refused !== undefined) return yield* refused
    const server = yield* servers.get(key.tenant, key.server)
    if (Option.isNone(server)) return yield* new ServerNotFound()
    const connected = yield* connectedAlready(key, choice)
    if (connected !== undefined) return connected
    const transport = yield* transports.get(choice.transport ?? transports.preferred)
    const id = FlowId.make(yield* entropy.id)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const reservation = yield* flows.reserve({
          id,
          key,
          transport: transport.kind,
          confirmation: choice.confirmation ?? "none",
          onConflict: choice.onConflict ?? "reject",
          ttl
          // Whoever does not hear the store's answer may hold the slot all the same.
        }).pipe(Effect.tapErrorTag("StoreError", () => undo(id)))
        if (reservation._tag === "Joined") return { _tag: "Joined", flow: reservation.flow } satisfies Started
        const { flow, superseded } = reservation
        if (superseded !== undefined) {
          yield* audit(key, "flow.settled", "superseded")
          yield* settledElsewhere(superseded)
        }
        return yield* restore(Effect.gen(function*() {
          yield* Checkpoint.reach("flow.reserved")
          const ready = yield* prepare(flow, server.value, transport, choice)
          yield* audit(key, "flow.started", flow.transport)
          return ready
        })).pipe(Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : undo(id)))
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

  /** Everything between the reservation and the URL; the scope of what it opens is closed by `undo` or by the flow's end. */
  const prepare = Effect.fnUntraced(function*(
    flow: Flow,
    server: Server,
    transport: CallbackTransport,
    choice: StartOptions
  ) {
    const { id, key } = flow
    const scope = yield* listeners.open(flow)
    const metadata = yield* authorizationServer.discover(server)
    const context = callbackContext(entropy, key)
    const registered = yield* clients.known(server, metadata, transport.kind)
    const { connectUrl, redirectUri } = yield* transport.open({
      flowId: id,
      context,
      preferred: registered?.redirectUri,
      deliver: (received) => options.complete(received, { context })
    }).pipe(Scope.provide(scope))
    const scopes = choice.scopes ?? server.scopes ?? metadata.scopes ?? []
    const client = registered !== undefined && suits(registered, { redirectUri, scopes })
      ? registered
      : yield* clients.register(server, metadata, transport.kind, {
        redirectUri,
        scopes: [...new Set([...registered?.scopes ?? [], ...scopes])]
      })
    const state = yield* states.issue
    const codeVerifier = yield* entropy.secret
    const resource = server.quirks.resourceParameter === false ? undefined : metadata.resource
    const authorizationUrl: Redacted.Redacted = yield* authorizationServer.authorizationUrl({
      authorizationEndpoint: metadata.authorizationEndpoint,
      clientId: client.clientId,
      redirectUri,
      scopes,
      resource,
      state,
      codeVerifier,
      parameters: server.quirks.authorizationParameters ?? {}
    })
    // An embedding application binds the person by itself, with the completion code.
    const offer = connectUrl === undefined || flow.confirmation === "finalize"
      ? undefined
      : { connectUrl, ticket: yield* entropy.secret }
    const frozen = yield* flows.freeze(
      id,
      {
        snapshot: {
          authorizationEndpoint: metadata.authorizationEndpoint,
          redirectUri,
          issRequired: metadata.issRequired,
          scopes,
          resource: server.resource,
          ...(choice.returnTo === undefined ? {} : { returnTo: choice.returnTo })
        },
        grant: grantOf(server, metadata, client, resource),
        stateHash: entropy.digest(state),
        context,
        codeVerifier: yield* cipher.seal(sealContext(key.tenant, id, "code_verifier"), codeVerifier),
        ...(client.clientSecret === undefined
          ? {}
          : { clientSecret: yield* cipher.seal(sealContext(key.tenant, id, "client_secret"), client.clientSecret) })
      },
      offer && {
        ticketHash: entropy.digest(offer.ticket),
        authorizationUrl: yield* cipher.seal(sealContext(key.tenant, id, "authorization_url"), authorizationUrl)
      }
    )
    if (!frozen) return yield* new FlowPreempted({ id })
    return offer === undefined
      ? { _tag: "Started", flow, authorizationUrl } satisfies Started
      : {
        _tag: "Offered",
        flow,
        connectUrl: offer.connectUrl(offer.ticket),
        compareCode: CompareCode.ofTicket(entropy, offer.ticket)
      } satisfies Started
  })

  return { start }
})

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
  redemptionPolicy: server.quirks.redemptionPolicy ?? "retry-once"
} as const)
