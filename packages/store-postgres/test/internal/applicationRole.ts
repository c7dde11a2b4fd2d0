import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect, Redacted } from "effect"
import * as Migrations from "../../src/Migrations.ts"
import { TestDatabase } from "./realPostgres.ts"

/** The URL of a role that owns nothing, on a database that its owner migrated; until the scope closes. */
export const applicationRole = Effect.gen(function*() {
  const { sql, url } = yield* TestDatabase
  yield* Migrations.apply({ url })
  const app = yield* EmbeddedPostgres.applicationRole(url)
  const role = sql(new URL(Redacted.value(app)).username)
  yield* sql`GRANT USAGE ON SCHEMA test_clock TO ${role}`
  yield* sql`GRANT SELECT ON test_clock.shift TO ${role}`
  return app
})
