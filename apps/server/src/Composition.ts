import * as GatewayTransport from "@valetkey/callback-gateway/GatewayTransport"
import * as LoopbackTransport from "@valetkey/callback-loopback/LoopbackTransport"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ApiKeys } from "@valetkey/domain/ApiKeys"
import { Audit } from "@valetkey/domain/Audit"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { CallbackTransports } from "@valetkey/domain/CallbackTransport"
import { ClientDocuments } from "@valetkey/domain/ClientDocuments"
import { Connections } from "@valetkey/domain/Connections"
import { Consoles } from "@valetkey/domain/Consoles"
import { DevicePoller } from "@valetkey/domain/DevicePoller"
import type { DocumentTags } from "@valetkey/domain/DocumentTags"
import { Exports } from "@valetkey/domain/Exports"
import { Flows } from "@valetkey/domain/Flows"
import { Histories } from "@valetkey/domain/Histories"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Instance } from "@valetkey/domain/Instance"
import * as InstanceGuard from "@valetkey/domain/InstanceGuard"
import { KeyRotation } from "@valetkey/domain/KeyRotation"
import { Renewer } from "@valetkey/domain/Renewer"
import { ResourceProxy } from "@valetkey/domain/ResourceProxy"
import { Revocations } from "@valetkey/domain/Revocations"
import * as RollbackAlarm from "@valetkey/domain/RollbackAlarm"
import { Servers } from "@valetkey/domain/Servers"
import { Tenants } from "@valetkey/domain/Tenants"
import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as ApiKeyAuthenticator from "@valetkey/http/ApiKeyAuthenticator"
import * as LocalAuthenticator from "@valetkey/http/LocalAuthenticator"
import { PublicAddress } from "@valetkey/http/PublicAddress"
import * as AgeArchiveSealer from "@valetkey/keyring/AgeArchiveSealer"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeyRingFingerprints from "@valetkey/keyring/KeyRingFingerprints"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import * as OAuth from "@valetkey/oauth/OAuth"
import * as ResourceRequests from "@valetkey/oauth/ResourceRequests"
import { Effect, Layer, type Redacted, type Scope } from "effect"
import { Draining } from "./Draining.ts"
import * as EmbeddedStore from "./EmbeddedStore.ts"
import * as Health from "./Health.ts"
import { RootKeys } from "./RootKeys.ts"
import type { Settings } from "./Settings.ts"
import * as WorkloadFiles from "./WorkloadFiles.ts"

/** What only a started local installation knows. */
export interface LocalSecrets {
  readonly instanceId: string
  readonly bootToken: Redacted.Redacted
}

type LocalSettings = Extract<Settings, { readonly profile: "local" }>
type ServerSettings = Extract<Settings, { readonly profile: "server" }>

/** The local profile: SQLite, a key file, loopback callbacks, the owner of the socket. */
export const layerLocal = (settings: LocalSettings, secrets: LocalSecrets) =>
  layerUseCases(settings).pipe(
    Layer.provideMerge(Layer.mergeAll(
      ApiKeyAuthenticator.layer(LocalAuthenticator.layer({ token: secrets.bootToken })),
      Health.layer
    )),
    Layer.provideMerge(ApiKeys.layer),
    Layer.provide(
      settings.publicUrl === undefined
        ? CallbackTransports.layer([loopback(settings)])
        : CallbackTransports.layer<never, Scope.Scope | DocumentTags>([loopback(settings), gateway(settings)])
    ),
    Layer.provideMerge(layerGuarded(settings, secrets.instanceId)),
    Layer.provideMerge(EmbeddedStore.layer({ path: settings.home.database })),
    Layer.provideMerge(layerOutside(secrets.instanceId)),
    Layer.provideMerge(RootKeys.layer(settings)),
    Layer.provideMerge(Draining.layer)
  )

/** The server profile: Postgres, configured keys, gateway callbacks, signed tokens. */
export const layerServer = (settings: ServerSettings) =>
  layerUseCases(settings).pipe(
    Layer.provideMerge(Layer.mergeAll(
      ApiKeyAuthenticator.layer(onDemand(() => import("./SignedTokens.ts"), ({ layer }) => layer(settings))),
      Health.layer
    )),
    Layer.provideMerge(ApiKeys.layer),
    Layer.provide(CallbackTransports.layer([gateway(settings)])),
    Layer.provideMerge(layerGuarded(settings, settings.instanceId ?? "default")),
    Layer.provideMerge(onDemand(() => import("./SharedStore.ts"), ({ layer }) => layer(settings))),
    Layer.provideMerge(layerOutside(settings.instanceId ?? "default")),
    Layer.provideMerge(RootKeys.layer(settings)),
    Layer.provideMerge(Draining.layer)
  )

const layerUseCases = (settings: Settings) =>
  Layer.mergeAll(
    Housekeeping.layerSchedule(),
    Tenants.layerSchedule(),
    DevicePoller.layerSchedule(),
    Renewer.layerSchedule(),
    layerProxy(settings)
  ).pipe(
    Layer.provideMerge(InstanceGuard.layerDevicePoller.pipe(Layer.provide(DevicePoller.layer))),
    Layer.provideMerge(InstanceGuard.layerRenewer.pipe(
      Layer.provide(Renewer.layer({ ahead: settings.refreshAhead, usedWithin: settings.refreshUsedWithin }))
    )),
    Layer.provideMerge(InstanceGuard.layerHousekeeping.pipe(Layer.provide(Housekeeping.layer))),
    Layer.provideMerge(
      Layer.mergeAll(
        InstanceGuard.layerFlows.pipe(
          Layer.provide(Flows.layer({
            ttl: settings.flowTtl,
            returnUrls: settings.returnUrls,
            device: settings.deviceFlow
          }))
        ),
        AccessTokens.layer({ ahead: settings.refreshAhead, caps: settings.redemptionCaps }).pipe(
          Layer.provide(WorkloadFiles.layer(settings.workloadTokens))
        ),
        ClientDocuments.layer,
        Connections.layer,
        Histories.layer,
        Consoles.layer,
        Consoles.layerSweep,
        Layer.succeed(PublicAddress, Effect.succeed(publicUrlOf(settings))),
        Exports.layer.pipe(Layer.provide(AgeArchiveSealer.layer)),
        Revocations.layer,
        Revocations.layerRetention({ retention: settings.receiptRetention }),
        Servers.layer,
        InstanceGuard.layerTenants.pipe(Layer.provide(Tenants.layer({ patience: settings.deletionPatience }))),
        KeyRotation.layer({ tenantKeys: settings.tenantKeys })
      )
    ),
    Layer.provideMerge(RollbackAlarm.layer()),
    Layer.provideMerge(
      Layer.mergeAll(AuditTrail.layer(), Audit.layer, Audit.layerRetention({ retention: settings.auditRetention }))
    )
  )

/** Whose the store is, and secrets at rest and authorization servers for its owner alone. */
const layerGuarded = (settings: Settings, instanceId: string) =>
  Layer.merge(
    layerCipher(settings, instanceId),
    InstanceGuard.layerAuthorizationServer.pipe(Layer.provide(layerAuthorizationServer(settings)))
  ).pipe(Layer.provideMerge(Instance.layer({ id: instanceId })))

/** Secrets at rest: the keys that this process holds, and what the store's register says of them. */
const layerCipher = (settings: Settings, instanceId: string) =>
  InstanceGuard.layerCipher.pipe(Layer.provideMerge(Layer.unwrap(Effect.map(
    Effect.all([Instance, RootKeys]),
    ([{ former }, source]) =>
      KeyRingCipher.layerTenantKeys({ instanceId, former, source, sealing: settings.tenantKeys })
  ))))

const layerAuthorizationServer = (settings: Settings) =>
  OAuth.layer.pipe(Layer.provide(Egress.layer({ policy: policyOf(settings) })))

/** Requests to resources have connections of their own, apart from those to authorization servers. */
const layerProxy = (settings: Settings) =>
  ResourceProxy.layer().pipe(
    Layer.provideMerge(ResourceRequests.layer()),
    Layer.provide(Egress.layer({ policy: policyOf(settings) }))
  )

/** Everything else beyond this process and its store. */
const layerOutside = (instanceId: string) =>
  Layer.mergeAll(
    Layer.unwrap(Effect.map(RootKeys, (source) => KeyRingFingerprints.layer({ instanceId, source }))),
    NodeEntropy.layer
  )

const policyOf = (settings: Settings): AddressPolicy.AddressPolicy => {
  const listeners = [settings.listen, settings.publicListen, settings.adminListen].flatMap((address) =>
    address === undefined || address.port === 0
      ? []
      : [`${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`]
  )
  // What the operator allows by name may be one of our own ports; nothing else may be.
  const options = {
    allow: settings.allowEgress,
    refuse: listeners.filter((endpoint) => !settings.allowEgress.includes(endpoint))
  }
  return settings.profile === "local" ? AddressPolicy.local(options) : AddressPolicy.globalOnly(options)
}

const loopback = ({ clientMetadataUrl }: Settings) => LoopbackTransport.make({ clientMetadataUrl })

const gateway = (settings: Settings) => GatewayTransport.make({ publicUrl: publicUrlOf(settings) })

const publicUrlOf = ({ publicUrl }: Settings): URL | undefined =>
  publicUrl === undefined ? undefined : new URL(publicUrl)

/** What only a deployment needs is loaded by one: a local server starts without it. */
const onDemand = <Module, A, E, R>(load: () => Promise<Module>, layer: (module: Module) => Layer.Layer<A, E, R>) =>
  Layer.unwrap(Effect.map(Effect.promise(load), layer))
