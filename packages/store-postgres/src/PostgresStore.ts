import type { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import type { AuditLog } from "@valetkey/domain/AuditLog"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import type { DevicePolls } from "@valetkey/domain/DevicePolls"
import type { FlowStore } from "@valetkey/domain/FlowStore"
import type { InstanceStore } from "@valetkey/domain/InstanceStore"
import type { KeyRegister } from "@valetkey/domain/KeyRegister"
import type { PacingStore } from "@valetkey/domain/PacingStore"
import type { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import type { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import type { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import type { SealedRows } from "@valetkey/domain/SealedRows"
import type { ServerStore } from "@valetkey/domain/ServerStore"
import type { Signals } from "@valetkey/domain/Signals"
import type { StoreError } from "@valetkey/domain/StoreError"
import type { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import type { TenantStore } from "@valetkey/domain/TenantStore"
import { Config, Effect, Layer } from "effect"
import { Database, type DatabaseOptions } from "./Database.ts"
import * as Migrations from "./Migrations.ts"
import * as PostgresApiKeyStore from "./PostgresApiKeyStore.ts"
import * as PostgresAuditLog from "./PostgresAuditLog.ts"
import * as PostgresConnectionStore from "./PostgresConnectionStore.ts"
import * as PostgresConsoleStore from "./PostgresConsoleStore.ts"
import * as PostgresDevicePolls from "./PostgresDevicePolls.ts"
import * as PostgresFlowStore from "./PostgresFlowStore.ts"
import { PostgresHealth } from "./PostgresHealth.ts"
import * as PostgresInstanceStore from "./PostgresInstanceStore.ts"
import * as PostgresKeyRegister from "./PostgresKeyRegister.ts"
import * as PostgresPacingStore from "./PostgresPacingStore.ts"
import * as PostgresRegistrationStore from "./PostgresRegistrationStore.ts"
import * as PostgresRenewalPlans from "./PostgresRenewalPlans.ts"
import * as PostgresRevocationOutbox from "./PostgresRevocationOutbox.ts"
import * as PostgresRevocationReceipts from "./PostgresRevocationReceipts.ts"
import * as PostgresSealedRows from "./PostgresSealedRows.ts"
import * as PostgresServerStore from "./PostgresServerStore.ts"
import * as PostgresSignals from "./PostgresSignals.ts"
import * as PostgresTenantKeyStore from "./PostgresTenantKeyStore.ts"
import * as PostgresTenantStore from "./PostgresTenantStore.ts"

/** Options of the whole store. */
export interface PostgresOptions extends DatabaseOptions, PostgresSignals.SignalsOptions {
  /** Run migrations at start. False refuses a schema that is not this version's. Default true. */
  readonly migrate?: boolean | undefined
}

/** Every store port but the spool, which belongs beside the store and not in it. */
export type Ports =
  | DevicePolls
  | FlowStore
  | ConnectionStore
  | PacingStore
  | RenewalPlans
  | RevocationOutbox
  | RevocationReceipts
  | RegistrationStore
  | ServerStore
  | InstanceStore
  | KeyRegister
  | SealedRows
  | ApiKeyStore
  | ConsoleStore
  | AuditLog
  | TenantStore
  | TenantKeyStore
  | Signals

/** Layer of every store port but the spool on one database, with its probe. The schema is brought up to date first. */
export const layer = (
  options: PostgresOptions
): Layer.Layer<Ports | PostgresHealth, Migrations.MigrationError | StoreError> =>
  Layer.mergeAll(
    PostgresFlowStore.layer,
    PostgresDevicePolls.layer,
    PostgresConnectionStore.layer,
    PostgresPacingStore.layer,
    PostgresRenewalPlans.layer,
    PostgresRevocationOutbox.layer,
    PostgresRevocationReceipts.layer,
    PostgresRegistrationStore.layer,
    PostgresServerStore.layer,
    PostgresInstanceStore.layer,
    PostgresKeyRegister.layer,
    PostgresSealedRows.layer,
    PostgresApiKeyStore.layer,
    PostgresConsoleStore.layer,
    PostgresAuditLog.layer,
    PostgresTenantStore.layer,
    PostgresTenantKeyStore.layer,
    PostgresSignals.layer(options),
    PostgresHealth.layer
  ).pipe(
    Layer.provide(Database.layer(options)),
    Layer.provide(options.migrate === false ? Migrations.layerVerify(options) : Migrations.layer(options))
  )

/** Layer of `layer` from configuration, such as `{ url: Config.Redacted("DATABASE_URL") }`. */
export const layerConfig = (
  config: Config.Wrap<PostgresOptions>
): Layer.Layer<Ports | PostgresHealth, Config.ConfigError | Migrations.MigrationError | StoreError> =>
  Layer.unwrap(Effect.map(Config.unwrap(config), layer))
