import { Effect, Redacted } from "effect"
import * as Migrations from "../../src/Migrations.ts"
import { TestDatabase } from "./realPostgres.ts"

/** The URL of a role that may change rows and nothing else, on a database that its owner migrated; until the scope closes. */
export const applicationRole = Effect.gen(function*() {
  const { sql, url } = yield* TestDatabase
  yield* Migrations.apply({ url })
  const [{ name } = { name: "" }] = yield* sql<{ name: string }>`SELECT current_database() AS name`
  const role = `rows_${name}`
  yield* Effect.acquireRelease(
    sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'app'`),
    () => Effect.orDie(Effect.andThen(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
  )
  yield* sql.unsafe(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`)
  yield* sql.unsafe(`GRANT USAGE ON SCHEMA test_clock TO ${role}`)
  yield* sql.unsafe(`GRANT SELECT ON test_clock.shift TO ${role}`)
  const app = new URL(Redacted.value(url))
  app.username = role
  app.password = "app"
  return Redacted.make(app.href)
})
