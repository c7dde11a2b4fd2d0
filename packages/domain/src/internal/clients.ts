import { Clock, DateTime, Duration, Effect, Option, type Redacted } from "effect"
import {
  type AuthorizationServer,
  type AuthorizationServerMetadata,
  DiscoveryError,
  type RegisteredClient
} from "../AuthorizationServer.ts"
import type { CallbackTransport } from "../CallbackTransport.ts"
import type { Cipher } from "../Cipher.ts"
import { coversScopes } from "../Credentials.ts"
import type { Entropy } from "../Entropy.ts"
import type { TransportKind } from "../Flow.ts"
import { type Registration, type RegistrationKey, type RegistrationStore, sealContext } from "../RegistrationStore.ts"
import type { Server, TokenEndpointAuthMethod } from "../Server.ts"
import { sealContext as serverContext } from "../ServerStore.ts"
import { publicKeyOf } from "../SigningKey.ts"
import { wantsSigned } from "./signedResponses.ts"

/** A client that may be used for a flow, its secret open. */
export interface Client {
  readonly clientId: string
  readonly authMethod: TokenEndpointAuthMethod
  readonly clientSecret?: Redacted.Redacted | undefined
  /** The redirect URI that it is registered for, when known. */
  readonly redirectUri?: string | undefined
  /** The scopes that it is registered for, when that matters. */
  readonly scopes?: ReadonlyArray<string> | undefined
  /** Registered by a person, or described by a document of ours: used whatever the redirect URI turns out to be. */
  readonly needsNoRegistration: boolean
}

/** What a client depends on of the way in which its consent arrives. */
type Transport = Pick<CallbackTransport, "describe" | "describeKeyed" | "isKeyed" | "kind">

/** Finds or registers the client of a server: by hand first, then our own document, the registration on record, a new one. */
export const makeClients = (ports: {
  readonly authorizationServer: AuthorizationServer["Service"]
  readonly cipher: Cipher["Service"]
  readonly entropy: Entropy["Service"]
  readonly registrations: RegistrationStore["Service"]
}) => {
  const { authorizationServer, cipher, entropy, registrations } = ports

  /** Ourselves, as a document of ours says, at authorization servers that read one and take a client without proof. */
  const described = (
    server: Server,
    metadata: AuthorizationServerMetadata,
    transport: Transport,
    context: string
  ): Client | undefined => {
    const reads = readsDocuments(server, metadata) && !wantsKey(metadata)
    const description = reads ? transport.describe?.(context) : undefined
    return description && { ...description, authMethod: "none", needsNoRegistration: true }
  }

  /** The same where the server wants a signature: a document that names the key, which is kept like a registration. */
  const keyed = Effect.fnUntraced(function*(
    server: Server,
    metadata: AuthorizationServerMetadata,
    transport: Transport,
    context: string,
    signingKey: Redacted.Redacted
  ) {
    const publicKey = readsDocuments(server, metadata) && wantsKey(metadata) ? publicKeyOf(signingKey) : undefined
    const description = publicKey && (yield* transport.describeKeyed?.(context, publicKey) ?? Effect.undefined)
    if (description === undefined) return undefined
    // Before anybody hears of it: it has to be found after the key of its tag is gone.
    yield* registrations.record(server.tenant, description.clientId)
    return {
      clientId: description.clientId,
      authMethod: "private_key_jwt",
      clientSecret: signingKey
    } satisfies RegisteredClient
  })

  /** The client that needs no registering, or the one on record, unless its secret has expired. */
  const known = Effect.fnUntraced(function*(
    server: Server,
    metadata: AuthorizationServerMetadata,
    transport: Transport,
    context: string
  ) {
    if (server.client !== undefined) {
      const { authMethod, clientId, clientSecret, redirectUri } = server.client
      // The exchange could not be sent: nobody is asked for a consent that leads nowhere.
      if (authMethod !== "none" && clientSecret === undefined) {
        return yield* new DiscoveryError({ code: "client_secret_missing" })
      }
      return {
        clientId,
        authMethod,
        clientSecret: clientSecret === undefined
          ? undefined
          : yield* cipher.open(serverContext(server.tenant, server.slug), clientSecret),
        redirectUri,
        needsNoRegistration: true
      } satisfies Client
    }
    const self = described(server, metadata, transport, context)
    if (self !== undefined) return self
    const key = registrationKey(server, metadata, transport.kind)
    const found = yield* registrations.get(key)
    if (Option.isNone(found)) return undefined
    const { authMethod, clientId, clientSecret, clientSecretExpiresAt, redirectUri, scopes } = found.value
    if (
      clientSecretExpiresAt !== undefined &&
      DateTime.toEpochMillis(clientSecretExpiresAt) <= (yield* Clock.currentTimeMillis)
    ) return undefined
    const secret = clientSecret === undefined ? undefined : yield* cipher.open(sealContext(key), clientSecret)
    // A version that records none may have written it. The key that a registration has is always one that was made here.
    const publicKey = authMethod === "private_key_jwt" && secret !== undefined ? publicKeyOf(secret) : undefined
    if (publicKey !== undefined && transport.isKeyed?.(clientId, context, publicKey)) {
      yield* registrations.record(server.tenant, clientId)
    }
    return {
      clientId,
      authMethod,
      clientSecret: secret,
      redirectUri,
      scopes,
      needsNoRegistration: false
    } satisfies Client
  })

  /** Registers a client for the redirect URI and replaces the one on record. */
  const register = Effect.fnUntraced(function*(
    server: Server,
    metadata: AuthorizationServerMetadata,
    transport: Transport,
    context: string,
    input: Wanted
  ) {
    const key = registrationKey(server, metadata, transport.kind)
    const signingKey = yield* entropy.signingKey
    const client: RegisteredClient = (yield* keyed(server, metadata, transport, context, signingKey)) ??
      (yield* authorizationServer.register(metadata, { ...input, transport: transport.kind, signingKey }))
    const registration: Registration = {
      clientId: client.clientId,
      authMethod: client.authMethod,
      ...(input.redirectUri === undefined ? {} : { redirectUri: input.redirectUri }),
      scopes: input.scopes,
      ...(client.clientSecret === undefined
        ? {}
        : { clientSecret: yield* cipher.seal(sealContext(key), client.clientSecret) }),
      ...(client.clientSecretExpiresAt === undefined ? {} : { clientSecretExpiresAt: client.clientSecretExpiresAt })
    }
    yield* registrations.put(key, registration)
    return {
      clientId: client.clientId,
      authMethod: client.authMethod,
      clientSecret: client.clientSecret,
      redirectUri: input.redirectUri,
      scopes: input.scopes,
      needsNoRegistration: false
    } satisfies Client
  })

  /**
   * The client on record when it suits, else a new one. One caller registers at a time, on whichever replica, and the others
   * look again: an authorization server gets one registration of those who start at once.
   */
  const obtain = Effect.fnUntraced(function*(
    server: Server,
    metadata: AuthorizationServerMetadata,
    transport: Transport,
    context: string,
    wanted: Wanted
  ) {
    const key = registrationKey(server, metadata, transport.kind)
    const turn = yield* entropy.id
    const attempt = Effect.acquireUseRelease(
      registrations.take(key, turn, turnLease),
      Effect.fnUntraced(function*(isMine) {
        const client = yield* known(server, metadata, transport, context)
        if (client !== undefined && suits(client, wanted)) return client
        if (!isMine) return undefined
        return yield* register(server, metadata, transport, context, {
          ...wanted,
          scopes: [...new Set([...client?.scopes ?? [], ...wanted.scopes])]
        })
      }),
      (isMine) => isMine ? Effect.ignore(registrations.give(key, turn)) : Effect.void
    )
    let client: Client | undefined
    while ((client = yield* attempt) === undefined) yield* Effect.sleep(pollInterval)
    return client
  }, (obtaining) =>
    Effect.timeoutOrElse(obtaining, {
      duration: patience,
      orElse: () => Effect.fail(new DiscoveryError({ code: "authorization_server_unreachable" }))
    }))

  /** Has the next flow register anew, unless somebody did so already. */
  const forget = (server: Server, metadata: AuthorizationServerMetadata, transport: TransportKind, client: Client) =>
    registrations.remove(registrationKey(server, metadata, transport), client.clientId)

  return { forget, known, obtain }
}

/** A document names no algorithm for responses, which then is RS256 (JARM §3): of no use where that is not offered. */
const readsDocuments = (server: Server, metadata: AuthorizationServerMetadata): boolean =>
  metadata.readsClientMetadata === true && server.quirks.clientMetadataDocument !== false &&
  (!wantsSigned(server, metadata) || metadata.signedResponses?.algorithms.includes("RS256") === true)

const wantsKey = ({ authAlgorithms, authMethods }: AuthorizationServerMetadata): boolean =>
  !authMethods.includes("none") && authMethods.includes("private_key_jwt") &&
  authAlgorithms?.includes("ES256") !== false

// Longer than a registration may take, so that nobody registers beside a slow one.
const turnLease = Duration.seconds(30)
const pollInterval = Duration.millis(100)
const patience = Duration.seconds(45)

/** What a flow needs of its client. */
interface Wanted {
  /** Undefined for a client of the device grant alone. */
  readonly redirectUri: string | undefined
  readonly scopes: ReadonlyArray<string>
}

/** Whether a client may be used as it is: a server may refuse another redirect URI, and more scopes than it registered. */
export const suits = (
  client: Client,
  wanted: Wanted
): boolean =>
  client.needsNoRegistration || client.redirectUri === wanted.redirectUri && coversScopes(client.scopes, wanted.scopes)

const registrationKey = (
  server: Server,
  metadata: AuthorizationServerMetadata,
  transport: TransportKind
): RegistrationKey => ({ tenant: server.tenant, server: server.slug, issuer: metadata.issuer, transport })
