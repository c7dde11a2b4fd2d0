import { assert, describe, it } from "@effect/vitest"
import * as ApiKeyStoreContract from "@valetkey/testing/ApiKeyStoreContract"
import * as AuditLogContract from "@valetkey/testing/AuditLogContract"
import * as ConnectionStoreContract from "@valetkey/testing/ConnectionStoreContract"
import * as DevicePollsContract from "@valetkey/testing/DevicePollsContract"
import * as FlowStoreContract from "@valetkey/testing/FlowStoreContract"
import * as KeyRegisterContract from "@valetkey/testing/KeyRegisterContract"
import * as PacingStoreContract from "@valetkey/testing/PacingStoreContract"
import * as RegistrationStoreContract from "@valetkey/testing/RegistrationStoreContract"
import * as RenewalPlansContract from "@valetkey/testing/RenewalPlansContract"
import * as RevocationOutboxContract from "@valetkey/testing/RevocationOutboxContract"
import * as RevocationReceiptsContract from "@valetkey/testing/RevocationReceiptsContract"
import * as SealedRowsContract from "@valetkey/testing/SealedRowsContract"
import * as ServerStoreContract from "@valetkey/testing/ServerStoreContract"
import * as SignalsContract from "@valetkey/testing/SignalsContract"
import * as TenantStoreContract from "@valetkey/testing/TenantStoreContract"
import { Config, ConfigProvider, Effect, Layer, Redacted } from "effect"
import { PostgresHealth } from "../src/PostgresHealth.ts"
import * as PostgresStore from "../src/PostgresStore.ts"
import { applicationRole } from "./internal/applicationRole.ts"
import { advance, tamper, TestDatabase } from "./internal/realPostgres.ts"

const asOwner = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url })))

/** Row-level security applies to this role. */
const asApplication = Layer.unwrap(Effect.map(applicationRole, (url) => PostgresStore.layer({ url, migrate: false })))

const options = { advance, tamper }

describe.each([
  { name: "PostgresStore", store: asOwner },
  { name: "I10 PostgresStore as a role that owns nothing", store: asApplication }
])("$name", ({ store }) =>
  it.layer(Layer.provideMerge(store, TestDatabase.layer), { timeout: "60 seconds" })((it) => {
    describe("FlowStore", () => FlowStoreContract.cases(it, options))
    describe("DevicePolls", () => DevicePollsContract.cases(it, options))
    describe("ConnectionStore", () => ConnectionStoreContract.cases(it, options))
    describe("RevocationOutbox", () => RevocationOutboxContract.cases(it, options))
    describe("RevocationReceipts", () => RevocationReceiptsContract.cases(it, options))
    describe("PacingStore", () => PacingStoreContract.cases(it, options))
    describe("RenewalPlans", () => RenewalPlansContract.cases(it, options))
    describe("RegistrationStore", () => RegistrationStoreContract.cases(it, options))
    describe("ServerStore", () => ServerStoreContract.cases(it))
    describe("KeyRegister", () => KeyRegisterContract.cases(it, options))
    describe("SealedRows", () => SealedRowsContract.cases(it))
    describe("ApiKeyStore", () => ApiKeyStoreContract.cases(it, options))
    describe("AuditLog", () => AuditLogContract.cases(it, options))
    describe("TenantStore", () => TenantStoreContract.cases(it, options))
    describe("Signals", () => SignalsContract.cases(it))

    it.effect("builds from configuration", () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase
        const provider = ConfigProvider.fromUnknown({ DATABASE_URL: Redacted.value(url), POOL: "3" })
        const store = PostgresStore.layerConfig({
          url: Config.Redacted("DATABASE_URL"),
          maxConnections: Config.Int("POOL")
        }).pipe(Layer.provide(ConfigProvider.layer(provider)))
        const health = yield* Effect.provide(
          Effect.flatMap(PostgresHealth, (health) => health.check),
          store,
          { local: true }
        )
        assert.deepStrictEqual(health, { _tag: "Ready" })
      }))
  }))
