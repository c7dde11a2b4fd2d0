import { describe, it } from "@effect/vitest"
import * as AuditLogContract from "@valetkey/testing/AuditLogContract"
import * as ConnectionStoreContract from "@valetkey/testing/ConnectionStoreContract"
import * as FlowStoreContract from "@valetkey/testing/FlowStoreContract"
import * as RegistrationStoreContract from "@valetkey/testing/RegistrationStoreContract"
import * as RevocationOutboxContract from "@valetkey/testing/RevocationOutboxContract"
import * as ServerStoreContract from "@valetkey/testing/ServerStoreContract"
import * as SignalsContract from "@valetkey/testing/SignalsContract"
import { Effect, Layer } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { advance, auditTrail, TestDatabase } from "./internal/realPostgres.ts"

const store = (options: Partial<PostgresStore.PostgresOptions>) =>
  Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url, ...options }))).pipe(
    Layer.provideMerge(TestDatabase.layer)
  )

const options = { advance, auditTrail }

describe("PostgresStore", () =>
  it.layer(store({}), { timeout: "60 seconds" })((it) => {
    describe("FlowStore", () => FlowStoreContract.cases(it, options))
    describe("ConnectionStore", () => ConnectionStoreContract.cases(it, options))
    describe("RevocationOutbox", () => RevocationOutboxContract.cases(it, options))
    describe("RegistrationStore", () => RegistrationStoreContract.cases(it))
    describe("ServerStore", () => ServerStoreContract.cases(it))
    describe("AuditLog", () => AuditLogContract.cases(it, options))
    describe("Signals", () => SignalsContract.cases(it))
  }))
