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
import type { Spool } from "@valetkey/domain/Spool"
import type { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import type { TenantStore } from "@valetkey/domain/TenantStore"
import { Layer } from "effect"
import * as MemoryApiKeyStore from "./MemoryApiKeyStore.ts"
import * as MemoryAuditLog from "./MemoryAuditLog.ts"
import * as MemoryConnectionStore from "./MemoryConnectionStore.ts"
import * as MemoryConsoleStore from "./MemoryConsoleStore.ts"
import * as MemoryDevicePolls from "./MemoryDevicePolls.ts"
import * as MemoryFlowStore from "./MemoryFlowStore.ts"
import * as MemoryInstanceStore from "./MemoryInstanceStore.ts"
import * as MemoryKeyRegister from "./MemoryKeyRegister.ts"
import * as MemoryPacingStore from "./MemoryPacingStore.ts"
import * as MemoryRegistrationStore from "./MemoryRegistrationStore.ts"
import * as MemoryRenewalPlans from "./MemoryRenewalPlans.ts"
import * as MemoryRevocationOutbox from "./MemoryRevocationOutbox.ts"
import * as MemoryRevocationReceipts from "./MemoryRevocationReceipts.ts"
import * as MemorySealedRows from "./MemorySealedRows.ts"
import * as MemoryServerStore from "./MemoryServerStore.ts"
import * as MemorySignals from "./MemorySignals.ts"
import * as MemorySpool from "./MemorySpool.ts"
import * as MemoryTenantKeyStore from "./MemoryTenantKeyStore.ts"
import * as MemoryTenantStore from "./MemoryTenantStore.ts"
import { MemoryWorld } from "./MemoryWorld.ts"

/** Every store port. */
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
  | Spool
  | Signals

/** Layer of every store port over one fresh state, with that state for tests to look at. */
export const layer: Layer.Layer<Ports | MemoryWorld> = Layer.mergeAll(
  MemoryFlowStore.layer,
  MemoryDevicePolls.layer,
  MemoryConnectionStore.layer,
  MemoryPacingStore.layer,
  MemoryRenewalPlans.layer,
  MemoryRevocationOutbox.layer,
  MemoryRevocationReceipts.layer,
  MemoryRegistrationStore.layer,
  MemoryServerStore.layer,
  MemoryInstanceStore.layer,
  MemoryKeyRegister.layer,
  MemorySealedRows.layer,
  MemoryApiKeyStore.layer,
  MemoryConsoleStore.layer,
  MemoryAuditLog.layer,
  MemoryTenantStore.layer,
  MemoryTenantKeyStore.layer,
  MemorySpool.layer,
  MemorySignals.layer
).pipe(Layer.provideMerge(MemoryWorld.layer))
