import * as ConnectionStoreContract from "@valetkey/testing/ConnectionStoreContract"
import * as FlowStoreContract from "@valetkey/testing/FlowStoreContract"
import { Effect, Layer } from "effect"
import * as PostgresStore from "../src/PostgresStore.ts"
import { advance, auditTrail, TestDatabase } from "./internal/realPostgres.ts"

const layer = Layer.unwrap(Effect.map(TestDatabase, ({ url }) => PostgresStore.layer({ url }))).pipe(
  Layer.provideMerge(TestDatabase.layer)
)
const options = { advance, auditTrail }

FlowStoreContract.suite("postgres", layer, options)
ConnectionStoreContract.suite("postgres", layer, options)
