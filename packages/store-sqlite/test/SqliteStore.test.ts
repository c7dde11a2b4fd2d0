import * as StoreContract from "@valetkey/testing/StoreContract"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SqliteDatabase } from "../src/SqliteDatabase.ts"
import * as SqliteStore from "../src/SqliteStore.ts"

const tampering = {
  edit: ["UPDATE audit SET outcome = 'other' WHERE tenant = ? AND seq = 2"],
  delete: ["DELETE FROM audit WHERE tenant = ? AND seq = 2"],
  reorder: [
    "UPDATE audit SET seq = -1 WHERE tenant = ? AND seq = 2",
    "UPDATE audit SET seq = 2 WHERE tenant = ? AND seq = 3",
    "UPDATE audit SET seq = 3 WHERE tenant = ? AND seq = -1"
  ],
  cut: ["DELETE FROM audit WHERE tenant = ? AND seq = 4"]
}

const tamper: StoreContract.ContractOptions<SqliteDatabase>["tamper"] = (tenant, how) =>
  Effect.flatMap(SqliteDatabase, (database) =>
    database.write("tamper", (session) => {
      for (const statement of tampering[how]) session.run(statement, tenant)
    }))

const path = join(mkdtempSync(join(tmpdir(), "valetkey-sqlite-")), "store.db")
StoreContract.suite("SQLite file", SqliteStore.layer({ path }), { advance: TestClock.adjust, tamper })
StoreContract.suite("SQLite in memory", SqliteStore.layer({ path: ":memory:" }), {
  advance: TestClock.adjust,
  tamper,
  histories: 300
})
