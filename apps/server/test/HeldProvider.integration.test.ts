import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Deferred, Effect, Fiber, Redacted } from "effect"
import * as Replica from "./support/Replica.ts"

/** More refreshes than the server has connections to its database: were one held, they would not all arrive. */
const refreshes = 50

describe("a provider that keeps everyone waiting", () => {
  it.live("DB-04 holds no connection to the database and no transaction, and nobody else waits", () =>
    Effect.scoped(Effect.gen(function*() {
      const { url } = yield* EmbeddedPostgres.database
      const provider = yield* FakeProvider.make()
      const deployment = Replica.deployment({
        databaseUrl: Replica.text(url),
        publicPort: yield* Replica.freePort,
        allowEgress: new URL(provider.origin).host
      })
      const replica = yield* Replica.start(deployment.env, deployment.token)
      const response = yield* Effect.promise(() => fetch(`${provider.issuer}/.well-known/oauth-authorization-server`))
      const { token_endpoint: tokenEndpoint } = yield* Effect.promise(() =>
        response.json() as Promise<{ readonly token_endpoint: string }>
      )
      const names = Array.from({ length: refreshes }, (_, index) => `fake-${index}`)
      for (const name of names) {
        const refreshToken = Redacted.value(provider.grant({ clientId: "fake-client" }).refreshToken)
        const deposit = { tokenEndpoint, clientId: "fake-client", refreshToken }
        assert.strictEqual((yield* replica.call("PUT", `/v1/connections/${name}`, deposit)).status, 201)
      }
      const gate = yield* Deferred.make<void>()
      provider.always("token", Reply.before(Deferred.await(gate)))
      const calls = yield* Effect.forkChild(
        Effect.forEach(names, (name) => replica.call("POST", `/v1/connections/${name}/token`, {}), {
          concurrency: "unbounded"
        })
      )
      yield* provider.arrived("token", names.length)
      const [held] = yield* EmbeddedPostgres.statement(url, "SELECT clock_timestamp()::text AS since")

      const millis: Array<number> = []
      for (let round = 0; round < 50; round++) {
        const begun = performance.now()
        assert.strictEqual((yield* replica.call("GET", `/v1/connections/${names[round]}`)).status, 200)
        millis.push(performance.now() - begun)
      }
      const late = { tokenEndpoint, clientId: "fake-client", refreshToken: "late" }
      assert.strictEqual((yield* replica.call("PUT", "/v1/connections/late", late)).status, 201)
      // The slowest few belong to the machine that runs the test.
      assert.isBelow(millis.toSorted((a, b) => a - b).at(-5) ?? 0, 200)

      const older = `backend_type = 'client backend' AND xact_start < '${String(held?.["since"])}'`
      const sessions = yield* EmbeddedPostgres.statement(
        url,
        `SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND ${older}`
      )
      assert.deepStrictEqual(sessions, [])

      yield* Deferred.succeed(gate, undefined)
      for (const { status } of yield* Fiber.join(calls)) assert.strictEqual(status, 200)
    })))
})
