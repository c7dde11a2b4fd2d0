import * as GatewayTransport from "@valetkey/callback-gateway/GatewayTransport"
import * as LoopbackTransport from "@valetkey/callback-loopback/LoopbackTransport"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { AuditLog } from "@valetkey/domain/AuditLog"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { CallbackTransports } from "@valetkey/domain/CallbackTransport"
import { ClientDocuments } from "@valetkey/domain/ClientDocuments"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { DocumentTags } from "@valetkey/domain/DocumentTags"
import { Flows } from "@valetkey/domain/Flows"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import type { PacingStore } from "@valetkey/domain/PacingStore"
import type { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import type { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import { Renewer } from "@valetkey/domain/Renewer"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import type { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import type { ServerStore } from "@valetkey/domain/ServerStore"
import type { Signals } from "@valetkey/domain/Signals"
import type { Spool } from "@valetkey/domain/Spool"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeyRingDocumentTags from "@valetkey/keyring/KeyRingDocumentTags"
import * as KeyRingFingerprints from "@valetkey/keyring/KeyRingFingerprints"
import * as KeyRingStateTags from "@valetkey/keyring/KeyRingStateTags"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import * as OAuth from "@valetkey/oauth/OAuth"
import * as Canary from "@valetkey/testing/Canary"
import type { FakeProvider } from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { DateTime, Effect, Layer, Redacted, type Scope } from "effect"
import { randomBytes } from "node:crypto"

/** The store ports that an installation stands on. */
export type Stores =
  | AuditLog
  | ConnectionStore
  | PacingStore
  | FlowStore
  | RegistrationStore
  | RenewalPlans
  | RevocationOutbox
  | RevocationReceipts
  | ServerStore
  | Signals
  | Spool

/** A key ring of one fresh key; the key is a canary. */
export const freshKeys = (): Redacted.Redacted => {
  const key = randomBytes(32).toString("base64")
  Canary.register("root_key", key)
  return Redacted.make(`1:${key}`)
}

/** How browsers would know an installation; nothing listens there. */
export const publicUrl = new URL("https://valetkey.example")

/** Where the embedding application of an installation waits for its users. */
export const returnTo = "https://app.example/connected"

/** Every use case over real adapters: OAuth through the guarded client, the key ring, both transports, a store. */
export const layer = <E, R>(
  stores: Layer.Layer<Stores, E, R>,
  keys = freshKeys(),
  loopback: LoopbackTransport.LoopbackOptions = {},
  refreshing?: Parameters<typeof AccessTokens.layer>[0]
) =>
  Layer.merge(Housekeeping.layer, Renewer.layer({ ahead: refreshing?.ahead })).pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        Flows.layer({ returnUrls: [returnTo] }),
        AccessTokens.layer(refreshing),
        ClientDocuments.layer,
        Connections.layer,
        Servers.layer
      )
    ),
    Layer.provideMerge(AuditTrail.layer()),
    Layer.provideMerge(Layer.mergeAll(
      stores,
      OAuth.layer,
      KeyRingCipher.layer({ instanceId: "proof", source: KeySource.fromText(keys) }),
      KeyRingFingerprints.layer({ instanceId: "proof", source: KeySource.fromText(keys) }),
      KeyRingStateTags.layer({ instanceId: "proof", source: KeySource.fromText(keys) }),
      CallbackTransports.layer<never, Scope.Scope | DocumentTags>([
        LoopbackTransport.make(loopback),
        GatewayTransport.make({ publicUrl })
      ]),
      NodeEntropy.layer
    )),
    Layer.provideMerge(KeyRingDocumentTags.layer({ instanceId: "proof", source: KeySource.fromText(keys) })),
    Layer.provide(Egress.layer({ policy: AddressPolicy.local() }))
  )

/** The connection of a tenant's one person to the server at a resource URL; the server is described first. */
export const describe = Effect.fnUntraced(function*(resource: string, tenant: string = "local") {
  const key = new ConnectionKey({
    tenant: TenantId.make(tenant),
    subject: SubjectId.make("local"),
    server: ServerSlug.make("mcp")
  })
  yield* (yield* Servers).put(key.tenant, key.server, { resource, quirks: {} })
  return key
})

/** Starts a flow, consents as a person does, and returns the settled flow. */
export const connect = Effect.fnUntraced(function*(key: ConnectionKey, person: UserAgent.UserAgent = UserAgent.make()) {
  const flows = yield* Flows
  const started = yield* flows.start(key, { reauthorize: true })
  if (started._tag !== "Started") return yield* Effect.die(`the start was ${started._tag}`)
  yield* person.authorize(Redacted.value(started.authorizationUrl))
  const { id, key: { subject, tenant } } = started.flow
  return yield* flows.wait({ id, tenant, subject }, "10 seconds")
})

/** A connection whose access token ended long ago, with the refresh token that brings the next one. */
export const depositExpired = Effect.fnUntraced(function*(provider: FakeProvider, tenant?: string) {
  const key = yield* describe(provider.resource, tenant)
  const { accessToken, refreshToken } = provider.grant()
  const issuedAt = DateTime.subtract(yield* DateTime.now, { hours: 2 })
  yield* (yield* Connections).deposit(key, {
    grant: {
      issuer: provider.issuer,
      tokenEndpoint: `${provider.issuer}/token`,
      revocationEndpoint: `${provider.issuer}/revoke`,
      clientId: "fake-client",
      authMethod: "none",
      resource: provider.resource,
      redemptionPolicy: "strict"
    },
    credentials: {
      accessToken,
      refreshToken,
      tokenType: "Bearer",
      issuedAt,
      expiresAt: DateTime.add(issuedAt, { hours: 1 })
    }
  })
  return { key, accessToken, refreshToken }
})
