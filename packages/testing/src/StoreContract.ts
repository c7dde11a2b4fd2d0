import { describe, it } from "@effect/vitest"
import type { Layer } from "effect"
import * as ApiKeyStoreContract from "./ApiKeyStoreContract.ts"
import * as AuditLogContract from "./AuditLogContract.ts"
import * as ConnectionStoreContract from "./ConnectionStoreContract.ts"
import * as ConsoleStoreContract from "./ConsoleStoreContract.ts"
import * as DevicePollsContract from "./DevicePollsContract.ts"
import * as FlowStoreContract from "./FlowStoreContract.ts"
import * as InstanceStoreContract from "./InstanceStoreContract.ts"
import type { ContractOptions, StorePorts } from "./internal/contractFixtures.ts"
import * as KeyRegisterContract from "./KeyRegisterContract.ts"
import * as PacingStoreContract from "./PacingStoreContract.ts"
import * as RegistrationStoreContract from "./RegistrationStoreContract.ts"
import * as RenewalPlansContract from "./RenewalPlansContract.ts"
import * as RevocationOutboxContract from "./RevocationOutboxContract.ts"
import * as RevocationReceiptsContract from "./RevocationReceiptsContract.ts"
import * as SealedRowsContract from "./SealedRowsContract.ts"
import * as ServerStoreContract from "./ServerStoreContract.ts"
import * as SignalsContract from "./SignalsContract.ts"
import * as SpoolContract from "./SpoolContract.ts"
import * as TenantStoreContract from "./TenantStoreContract.ts"

export type { ContractOptions, StorePorts } from "./internal/contractFixtures.ts"

/** Runs the contracts of all store ports on one layer that is built once. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<StorePorts | R, unknown>,
  options: ContractOptions<R>
): void => {
  describe(`Store (${name})`, () =>
    it.layer(layer, { timeout: "60 seconds" })((it) => {
      describe("FlowStore", () => FlowStoreContract.cases(it, options))
      describe("DevicePolls", () => DevicePollsContract.cases(it, options))
      describe("ConnectionStore", () => ConnectionStoreContract.cases(it, options))
      describe("RevocationOutbox", () => RevocationOutboxContract.cases(it, options))
      describe("RevocationReceipts", () => RevocationReceiptsContract.cases(it, options))
      describe("PacingStore", () => PacingStoreContract.cases(it, options))
      describe("RenewalPlans", () => RenewalPlansContract.cases(it, options))
      describe("RegistrationStore", () => RegistrationStoreContract.cases(it, options))
      describe("ServerStore", () => ServerStoreContract.cases(it))
      describe("InstanceStore", () => InstanceStoreContract.cases(it))
      describe("KeyRegister", () => KeyRegisterContract.cases(it, options))
      describe("SealedRows", () => SealedRowsContract.cases(it))
      describe("ApiKeyStore", () => ApiKeyStoreContract.cases(it, options))
      describe("ConsoleStore", () => ConsoleStoreContract.cases(it, options))
      describe("AuditLog", () => AuditLogContract.cases(it, options))
      describe("TenantStore", () => TenantStoreContract.cases(it, options))
      describe("Spool", () => SpoolContract.cases(it))
      describe("Signals", () => SignalsContract.cases(it))
    }))
}
