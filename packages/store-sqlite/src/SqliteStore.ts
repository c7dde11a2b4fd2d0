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
import type { StoreError } from "@valetkey/domain/StoreError"
import type { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import type { TenantStore } from "@valetkey/domain/TenantStore"
import { Layer } from "effect"
import * as SqliteApiKeyStore from "./SqliteApiKeyStore.ts"
import * as SqliteAuditLog from "./SqliteAuditLog.ts"
import * as SqliteConnectionStore from "./SqliteConnectionStore.ts"
import * as SqliteConsoleStore from "./SqliteConsoleStore.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"
import * as SqliteDevicePolls from "./SqliteDevicePolls.ts"
import * as SqliteFlowStore from "./SqliteFlowStore.ts"
import * as SqliteInstanceStore from "./SqliteInstanceStore.ts"
import * as SqliteKeyRegister from "./SqliteKeyRegister.ts"
import * as SqlitePacingStore from "./SqlitePacingStore.ts"
import * as SqliteRegistrationStore from "./SqliteRegistrationStore.ts"
import * as SqliteRenewalPlans from "./SqliteRenewalPlans.ts"
import * as SqliteRevocationOutbox from "./SqliteRevocationOutbox.ts"
import * as SqliteRevocationReceipts from "./SqliteRevocationReceipts.ts"
import * as SqliteSealedRows from "./SqliteSealedRows.ts"
import * as SqliteServerStore from "./SqliteServerStore.ts"
import * as SqliteSignals from "./SqliteSignals.ts"
import * as SqliteSpool from "./SqliteSpool.ts"
import * as SqliteTenantKeyStore from "./SqliteTenantKeyStore.ts"
import * as SqliteTenantStore from "./SqliteTenantStore.ts"

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

/**
 * Layer of every store port over the file at `path`, with the spool in `<path>.spool`. `:memory:` keeps both in memory.
 * One process owns the files at a time; the next one fails with `store_locked` until the owner ends.
 */
export const layer = (options: { readonly path: string }): Layer.Layer<Ports | SqliteDatabase, StoreError> =>
  Layer.mergeAll(
    SqliteFlowStore.layer,
    SqliteDevicePolls.layer,
    SqliteConnectionStore.layer,
    SqlitePacingStore.layer,
    SqliteRenewalPlans.layer,
    SqliteRevocationOutbox.layer,
    SqliteRevocationReceipts.layer,
    SqliteRegistrationStore.layer,
    SqliteServerStore.layer,
    SqliteInstanceStore.layer,
    SqliteKeyRegister.layer,
    SqliteSealedRows.layer,
    SqliteApiKeyStore.layer,
    SqliteConsoleStore.layer,
    SqliteAuditLog.layer,
    SqliteTenantStore.layer,
    SqliteTenantKeyStore.layer,
    SqliteSpool.layer({ path: options.path === ":memory:" ? ":memory:" : `${options.path}.spool` }),
    SqliteSignals.layer
  ).pipe(Layer.provideMerge(SqliteDatabase.layer(options)))
