import { Effect, type Redacted, Result, Scope } from "effect"
import type { CallbackReceived, CallbackRejected } from "../Authorization.ts"
import { AuthorizationServer, type AuthorizationServerMetadata, DiscoveryError } from "../AuthorizationServer.ts"
import {
  type CallbackTransport,
  CallbackTransports,
  type Delivery,
  type OpenTransport,
  TransportError
} from "../CallbackTransport.ts"
import { Cipher, type CipherError } from "../Cipher.ts"
import * as CompareCode from "../CompareCode.ts"
import type { ConnectionKey } from "../Connection.ts"
import { Entropy } from "../Entropy.ts"
import {
  type Confirmation,
  type Flow,
  type FlowId,
  type FrozenAuthorization,
  type FrozenDevice,
  type FrozenTicket,
  type FrozenWay,
  sealContext,
  type TransportKind
} from "../Flow.ts"
import type { CallbackPlace, Ready } from "../Flows.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import type { Server, ServerSlug } from "../Server.ts"
import { StateTags } from "../StateTags.ts"
import type { StoreError } from "../StoreError.ts"
import type { TenantId } from "../Tenant.ts"
import { bind } from "./boundSecrets.ts"
import { callbackContext } from "./callbackContext.ts"
import { type Client, makeClients, suits } from "./clients.ts"
import { nonceOf } from "./derivations.ts"
import { refuseForeign, refuseMoved } from "./movedEndpoints.ts"
import { makeOwnRows } from "./ownRow.ts"
import { pushOf, written } from "./pushing.ts"
import { signedResponseOf } from "./signedResponses.ts"

/** How the consent of a flow arrives: by a browser that comes back, or by asking what became of a device code. */
export type Transport = CallbackTransport | { readonly kind: "device"; readonly stateless: true }

/** A way to the consent that is open and not frozen yet. */
export interface Way<Frozen extends FrozenWay = FrozenWay> {
  readonly frozen: Frozen
  readonly ticket?: FrozenTicket | undefined
  /** What is handed out once it is frozen. */
  ready(flow: Flow): Ready
}

/** What a way leads to. The flow of this id need not be there yet. */
export interface Destination {
  readonly id: FlowId
  readonly key: ConnectionKey
  readonly server: Server
  readonly confirmation: Confirmation
  /** Default those of the server, else those that discovery recommends. */
  readonly scopes: ReadonlyArray<string> | undefined
  readonly returnTo: string | undefined
  readonly back: string | undefined
}

/** What starts and hand-offs share: everything between a slot that is held and what a person is given. */
export interface Ways {
  /** The transport that is asked for, or the preferred one. */
  transport(kind: TransportKind | undefined, confirmation: Confirmation): Effect.Effect<Transport, TransportError>
  /**
   * The way when nobody has to be asked and nothing opened for it: then a flow is reserved and frozen in one step.
   * Undefined when that takes more, which comes after the reservation.
   */
  foresee(destination: Destination, transport: Transport): Effect.Effect<Way<FrozenAuthorization> | undefined>
  /** Where browsers come back over the gateway, as it publishes; undefined where it has no https URL. */
  redirectUri(tenant: TenantId, server: ServerSlug): Effect.Effect<string | undefined>
  /** Opens a way. What a transport opens ends with the scope, which a stateless one needs not; nothing is durable yet. */
  open(
    destination: Destination,
    transport: Transport,
    scope: Scope.Scope | undefined
  ): Effect.Effect<Way, DiscoveryError | TransportError | CipherError | StoreError>
}

/** Builds the ways. */
export const makeWays = Effect.fnUntraced(function*(options: {
  /** Whether people may consent on another device. */
  readonly device: boolean
  complete(
    received: CallbackReceived,
    place: CallbackPlace
  ): Effect.Effect<Delivery, CallbackRejected | CipherError | StoreError>
}) {
  const authorizationServer = yield* AuthorizationServer
  const connections = yield* makeOwnRows
  const transports = yield* CallbackTransports
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const states = yield* StateTags
  const clients = makeClients({ authorizationServer, cipher, entropy, registrations: yield* RegistrationStore })

  const transport = Effect.fnUntraced(function*(kind: TransportKind | undefined, confirmation: Confirmation) {
    if (kind !== "device") return (yield* transports.get(kind ?? transports.preferred)) as Transport
    if (!options.device) return yield* new TransportError({ code: "transport_unavailable", transport: "device" })
    if (confirmation === "finalize") {
      return yield* new TransportError({ code: "device_unconfirmable", transport: "device" })
    }
    return device
  })

  const redirectUri = (tenant: TenantId, server: ServerSlug): Effect.Effect<string | undefined> =>
    Effect.match(transports.get("gateway"), {
      onFailure: () => undefined,
      onSuccess: (gateway) => gateway.describe?.(callbackContext(entropy, { tenant, server })).redirectUri
    })

  const foresee: Ways["foresee"] = Effect.fnUntraced(function*(destination, transport) {
    const { key, server } = destination
    if (!("open" in transport) || transport.stateless !== true || server.endpoints === undefined) return undefined
    const metadata = yield* authorizationServer.discover(server)
    const signed = yield* signedResponseOf(server, metadata)
    const context = callbackContext(entropy, key)
    const registered = yield* clients.known(server, metadata, transport, context)
    const opened = yield* openOf(destination, transport, context, registered)
    const scopes = scopesOf(destination, metadata)
    return registered !== undefined && suits(registered, { redirectUri: opened.redirectUri, scopes })
      ? yield* decide(destination, { metadata, signed, context, client: registered, opened, scopes })
      : undefined
    // What goes wrong here goes wrong again after the reservation, which comes first for whoever joins or meets another.
  }, (foreseeing) => Effect.catch(Effect.scoped(foreseeing), () => Effect.undefined))

  const open: Ways["open"] = Effect.fnUntraced(function*(destination, transport, scope) {
    const metadata = yield* authorizationServer.discover(destination.server)
    yield* refuseMoved(connections, destination.key, destination.server, metadata)
    return "open" in transport
      ? yield* openRedirect(destination, metadata, transport, scope)
      : yield* openDevice(destination, metadata)
  })

  /** A URL that a browser opens, and the redirect URI where its answer arrives. */
  const openRedirect = Effect.fnUntraced(function*(
    destination: Destination,
    metadata: AuthorizationServerMetadata,
    transport: CallbackTransport,
    scope: Scope.Scope | undefined
  ) {
    // What cannot be verified is refused before a client is registered for it.
    const signed = yield* signedResponseOf(destination.server, metadata)
    const context = callbackContext(entropy, destination.key)
    const registered = yield* clients.known(destination.server, metadata, transport, context)
    const opening = openOf(destination, transport, context, registered)
    const opened = yield* scope === undefined ? Effect.scoped(opening) : Scope.provide(opening, scope)
    const scopes = scopesOf(destination, metadata)
    const wanted = { redirectUri: opened.redirectUri, scopes }
    const client = registered !== undefined && suits(registered, wanted)
      ? registered
      : yield* clients.obtain(destination.server, metadata, transport, context, wanted)
    const found = { metadata, signed, context, client, opened, scopes }
    return yield* Effect.catchIf(
      decide(destination, found),
      // A registration that the server does not know any more is replaced, once.
      (error) => error._tag === "DiscoveryError" && error.code === "client_refused" && !client.needsNoRegistration,
      () =>
        Effect.gen(function*() {
          yield* clients.forget(destination.server, metadata, transport.kind, client)
          const another = yield* clients.obtain(destination.server, metadata, transport, context, wanted)
          return yield* decide(destination, { ...found, client: another })
        })
    )
  })

  const openOf = (
    { id }: Destination,
    transport: CallbackTransport,
    context: string,
    registered: Client | undefined
  ) =>
    transport.open({
      flowId: id,
      context,
      preferred: registered?.redirectUri,
      deliver: (received) => options.complete(received, { context })
    })

  /** Makes what only this way has: state, verifier, ticket. Asks nobody but a server that wants the request pushed. */
  const decide = Effect.fnUntraced(function*(destination: Destination, found: {
    readonly metadata: AuthorizationServerMetadata
    readonly signed: Effect.Success<ReturnType<typeof signedResponseOf>>
    readonly context: string
    readonly client: Client
    readonly opened: OpenTransport
    readonly scopes: ReadonlyArray<string>
  }) {
    const { back, confirmation, id, key, returnTo, server } = destination
    const { client, context, metadata, opened: { connectUrl, redirectUri }, scopes, signed } = found
    const { authorizationEndpoint } = metadata
    if (authorizationEndpoint === undefined) return yield* new DiscoveryError({ code: "metadata_invalid" })
    const state = yield* states.issue
    const codeVerifier = yield* entropy.secret
    const proofKey = yield* proofKeyOf(server, metadata)
    const account = accountOf(server, client, scopes)
    const resource = resourceOf(server, metadata)
    const authorizationUrl: Redacted.Redacted = yield* authorizationServer.authorizationUrl({
      authorizationEndpoint,
      clientId: client.clientId,
      redirectUri,
      scopes,
      scopesAs: scopesAs(server),
      ...(signed === undefined ? {} : { responseMode: signed.mode }),
      resource,
      state,
      codeVerifier,
      ...(account.openid === true ? { nonce: nonceOf(entropy, codeVerifier) } : {}),
      proofKey,
      parameters: server.quirks.authorizationParameters ?? {}
    })
    const pushed = pushOf(server, metadata, client, authorizationUrl)
    if (pushed !== undefined) {
      yield* refuseForeign(server, metadata, pushed.endpoint, client.clientSecret !== undefined)
    }
    // An embedding application binds the person by itself, with the completion code.
    const offer = connectUrl === undefined || confirmation === "finalize"
      ? undefined
      : { connectUrl, ticket: yield* entropy.secret }
    // Whoever is handed the URL opens it now; a ticket waits for its browser.
    const departure = pushed === undefined || offer !== undefined
      ? authorizationUrl
      : yield* authorizationServer.push(pushed)
    const way: Way<FrozenAuthorization> = {
      frozen: {
        snapshot: {
          authorizationEndpoint,
          redirectUri,
          issRequired: metadata.issRequired,
          ...(signed === undefined ? {} : { signedResponse: signed.terms }),
          scopes,
          resource: server.resource,
          ...(returnTo === undefined ? {} : { returnTo }),
          ...(back === undefined ? {} : { back }),
          ...account
        },
        grant: grantOf(server, metadata, client, resource),
        stateHash: entropy.digest(state),
        context,
        codeVerifier: yield* cipher.seal(
          sealContext(key.tenant, id, "code_verifier"),
          bind(codeVerifier, proofKey)
        ),
        ...(yield* sealedSecret(destination, client))
      },
      ticket: offer && {
        ticketHash: entropy.digest(offer.ticket),
        authorizationUrl: yield* cipher.seal(
          sealContext(key.tenant, id, "authorization_url"),
          pushed === undefined ? authorizationUrl : yield* written(pushed)
        )
      },
      ready: (flow) =>
        offer === undefined
          ? { _tag: "Started", flow, authorizationUrl: departure }
          : {
            _tag: "Offered",
            flow,
            connectUrl: offer.connectUrl(offer.ticket),
            compareCode: CompareCode.ofTicket(entropy, offer.ticket)
          }
    }
    return way
  })

  /** A user code for a page that any device opens, and the device code that is asked about meanwhile. */
  const openDevice = Effect.fnUntraced(function*(destination: Destination, metadata: AuthorizationServerMetadata) {
    const { id, key, server } = destination
    const scopes = scopesOf(destination, metadata)
    const resource = resourceOf(server, metadata)
    const ask = Effect.gen(function*() {
      const wanted = { redirectUri: undefined, scopes }
      const client = yield* clients.obtain(server, metadata, device, callbackContext(entropy, key), wanted)
      const { authMethod, clientId, clientSecret } = client
      yield* refuseForeign(server, metadata, metadata.deviceAuthorizationEndpoint, clientSecret !== undefined)
      const request = { clientId, authMethod, clientSecret, scopes, resource }
      return { client, answer: yield* Effect.result(authorizationServer.authorizeDevice(metadata, request)) }
    })
    const first = yield* ask
    // A registration that the server may not know any more is replaced, once.
    const isStale = Result.isFailure(first.answer) && first.answer.failure.code === "device_refused" &&
      !first.client.needsNoRegistration
    if (isStale) yield* clients.forget(server, metadata, device.kind, first.client)
    const { answer, client } = isStale ? yield* ask : first
    if (Result.isFailure(answer)) return yield* answer.failure
    const { deviceCode, expiresIn, interval, userCode, verificationUri, verificationUriComplete } = answer.success
    const way: Way<FrozenDevice> = {
      frozen: {
        snapshot: { verificationUri, scopes, resource: server.resource, ...accountOf(server, client, scopes) },
        grant: grantOf(server, metadata, client, resource),
        deviceCode: yield* cipher.seal(
          sealContext(key.tenant, id, "device_code"),
          bind(deviceCode, yield* proofKeyOf(server, metadata))
        ),
        ...(yield* sealedSecret(destination, client)),
        interval,
        expiresIn
      },
      ready: (flow) => ({ _tag: "Verifying", flow, userCode, verificationUri, verificationUriComplete })
    }
    return way
  })

  /** A key for this connection alone, where its tokens are to be bound to one. */
  const proofKeyOf = ({ quirks }: Server, { bindsTokens }: AuthorizationServerMetadata) =>
    quirks.proofOfPossession ?? bindsTokens === true ? entropy.signingKey : Effect.undefined

  const sealedSecret = Effect.fnUntraced(function*({ id, key }: Destination, { clientSecret }: Client) {
    return clientSecret === undefined
      ? {}
      : { clientSecret: yield* cipher.seal(sealContext(key.tenant, id, "client_secret"), clientSecret) }
  })

  return { foresee, open, redirectUri, transport } satisfies Ways
})

const device = { kind: "device", stateless: true } as const

const scopesOf = ({ scopes, server }: Destination, metadata: AuthorizationServerMetadata): ReadonlyArray<string> =>
  scopes ?? server.scopes ?? metadata.scopes ?? []

/**
 * What is frozen of the account: whether the answer is to say who signed in, what becomes of another one's, and whether the
 * client is this server's alone. Of endpoints that were given without their issuer nobody knows what an ID token of theirs
 * must say.
 */
const accountOf = (
  { accountChange, endpoints, issuer }: Server,
  { needsNoRegistration }: Client,
  scopes: ReadonlyArray<string>
) => ({
  ...(scopes.includes("openid") && (endpoints === undefined || issuer !== undefined) ? { openid: true } : {}),
  ...(accountChange === undefined ? {} : { accountChange }),
  ...(needsNoRegistration ? {} : { clientOfServer: true })
})

/** The resource indicator of requests for a server (RFC 8707). */
export const resourceOf = (server: Server, metadata: AuthorizationServerMetadata): string | undefined =>
  server.quirks.resourceParameter === false ? undefined : metadata.resource

const scopesAs = ({ quirks }: Server) => ({
  separator: quirks.scopeSeparator ?? "space",
  parameter: quirks.scopeParameter ?? "scope"
})

/** What a refresh has to know of a server and its client. */
export const grantOf = (
  server: Server,
  metadata: AuthorizationServerMetadata,
  client: Pick<Client, "authMethod" | "clientId">,
  resource: string | undefined
) => ({
  issuer: metadata.issuer,
  tokenEndpoint: metadata.tokenEndpoint,
  ...(metadata.revocationEndpoint === undefined ? {} : { revocationEndpoint: metadata.revocationEndpoint }),
  // An ID token that stands in its place is not the authorization server's to judge.
  ...(server.quirks.introspectExpiry !== true || metadata.introspectionEndpoint === undefined ||
      server.tokens === "identity"
    ? {}
    : { introspectionEndpoint: metadata.introspectionEndpoint }),
  clientId: client.clientId,
  authMethod: client.authMethod,
  ...(resource === undefined ? {} : { resource }),
  destination: server.resource,
  redemptionPolicy: server.quirks.redemptionPolicy ?? "retry-once",
  ...(server.quirks.tokenDialect === undefined ? {} : { dialect: server.quirks.tokenDialect }),
  ...(server.tokens === "identity" ? { keeps: "id_token" as const } : {})
} as const)
