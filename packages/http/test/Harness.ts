import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ApiKeys } from "@valetkey/domain/ApiKeys"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import { Audit } from "@valetkey/domain/Audit"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { CallbackTransports } from "@valetkey/domain/CallbackTransport"
import { ClientDocuments } from "@valetkey/domain/ClientDocuments"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Consoles } from "@valetkey/domain/Consoles"
import { Exports } from "@valetkey/domain/Exports"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Histories } from "@valetkey/domain/Histories"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Instance } from "@valetkey/domain/Instance"
import { KeyRotation } from "@valetkey/domain/KeyRotation"
import { ResourceProxy } from "@valetkey/domain/ResourceProxy"
import { Revocations } from "@valetkey/domain/Revocations"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { ServerStore } from "@valetkey/domain/ServerStore"
import { TenantId } from "@valetkey/domain/Tenant"
import { Tenants } from "@valetkey/domain/Tenants"
import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as AgeArchiveSealer from "@valetkey/keyring/AgeArchiveSealer"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeyRingFingerprints from "@valetkey/keyring/KeyRingFingerprints"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import * as ResourceRequests from "@valetkey/oauth/ResourceRequests"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import { Effect, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import * as ApiKeyAuthenticator from "../src/ApiKeyAuthenticator.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { PublicAddress } from "../src/PublicAddress.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { jwt } from "./Caller.ts"
import { layerHttp } from "./Http.ts"
import { layerAuthorizationServer, noted, publicOrigin, Script, transports } from "./Script.ts"

/** Where the embedding application of these tests waits for its users. */
export const returnTo = "https://app.example/connected"

const notes = new Server({
  tenant: TenantId.make("acme"),
  slug: ServerSlug.make("notes"),
  resource: "https://notes.example/mcp",
  quirks: {}
})

const layerServer = Layer.effectDiscard(Effect.flatMap(ServerStore, (store) => store.put(notes)))

/** What a test may put in place of a part of the world. */
export interface WorldOptions {
  /** Undefined takes fresh keys, null is a server without any. */
  readonly keys?: Redacted.Redacted | null
  readonly flowStore?: Layer.Layer<FlowStore, never, FlowStore | Script>
  /** Default the store in memory. */
  readonly store?: typeof MemoryStore.layer
}

/** Everything below the HTTP layers, for real but for the network. */
export const layerWorld = (
  { flowStore = noted(FlowStore, "FlowStore"), keys, store = MemoryStore.layer }: WorldOptions = {}
) =>
  Layer.mergeAll(
    Layer.provideMerge(Housekeeping.layer, Flows.layer({ returnUrls: [returnTo] })),
    AccessTokens.layer(),
    ApiKeys.layer,
    ClientDocuments.layer,
    Connections.layer,
    Histories.layer,
    Consoles.layer,
    Layer.succeed(PublicAddress, Effect.succeed(new URL(publicOrigin))),
    Exports.layer.pipe(Layer.provide(AgeArchiveSealer.layer)),
    Revocations.layer,
    Servers.layer,
    KeyRotation.layer(),
    Tenants.layer(),
    Instance.layer({ id: "test" }),
    layerServer
  ).pipe(
    (useCases) =>
      Layer.provideMerge(
        ResourceProxy.layer({ perConnection: 4, perServer: 6 }).pipe(
          Layer.provideMerge(ResourceRequests.layer()),
          Layer.provide(Egress.layer({ policy: AddressPolicy.local() }))
        ),
        useCases
      ),
    Layer.provideMerge(Layer.mergeAll(AuditTrail.layer(), Audit.layer)),
    Layer.provideMerge(Layer.mergeAll(
      noted(ApiKeyStore, "ApiKeyStore"),
      noted(ConnectionStore, "ConnectionStore"),
      flowStore,
      noted(ServerStore, "ServerStore"),
      layerAuthorizationServer,
      CallbackTransports.layer([
        Effect.map(transports, ({ gateway }) => gateway),
        Effect.map(transports, ({ loopback }) => loopback)
      ]),
      layerKeys(KeySource.fromText(keys === null ? undefined : keys ?? freshKeys()))
    )),
    Layer.provideMerge(Layer.mergeAll(store, NodeEntropy.layer, Script.layer))
  )

const layerKeys = (source: KeySource.KeySource) =>
  Layer.merge(
    KeyRingCipher.layerRegistered({ instanceId: "test", source }),
    KeyRingFingerprints.layer({ instanceId: "test", source })
  )

export function freshKeys(): Redacted.Redacted {
  return Redacted.make(`1:${randomBytes(32).toString("base64")}`)
}

/** The whole server on one port, for callers with a JWT. */
export const layer = (options: WorldOptions = {}) =>
  layerHttp(Layer.mergeAll(Routes.layerApi(), Routes.layerPublic({ origin: publicOrigin }))).pipe(
    Layer.provide(Readiness.layerAlways),
    Layer.provideMerge(ApiKeyAuthenticator.layer(JwtAuthenticator.layerSecret(jwt))),
    Layer.provideMerge(layerWorld(options))
  )
