import { assert, describe, it } from "@effect/vitest"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Deferred, Effect, Fiber } from "effect"
import * as Replica from "./support/Replica.ts"

/** Replicas on a database, and a provider whose device codes may be asked about every second. */
const installed = Effect.gen(function*() {
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  provider.always("device", Reply.patch({ interval: 1 }))
  const deployment = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort: yield* Replica.freePort,
    allowEgress: new URL(provider.origin).host
  })
  return { database, provider, start: Replica.start(deployment.env, deployment.token) }
})

const begin = Effect.fnUntraced(function*(replica: Replica.Replica, provider: FakeProvider.FakeProvider) {
  const described = { resource: provider.resource, scopes: ["mcp:read"] }
  yield* replica.call("PUT", "/v1/servers/fake", described)
  const started = yield* replica.call("POST", "/v1/flows", { server: "fake", transport: "device" })
  assert.strictEqual(started.status, 201)
  return String(started.body["flowId"])
})

describe("device flows on three replicas", () => {
  it.live(
    "EXT-01 one replica polls at a time and in the pace of the server, and all see the end",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { provider, start } = yield* installed
        const [a, b, c] = yield* Effect.all([start, start, start], { concurrency: 3 })
        const arrivals = new Array<number>()
        provider.always("token", Reply.before(Effect.sync(() => arrivals.push(performance.now()))))
        const flowId = yield* begin(a, provider)
        const waiting = yield* Effect.forkChild(c.call("GET", `/v1/flows/${flowId}?wait=60`))
        yield* provider.arrived("token", 5)
        provider.script("token", [
          Reply.before(Effect.sync(() => arrivals.push(performance.now())), Reply.error("slow_down"))
        ])
        yield* provider.arrived("token", 7)
        provider.answerDevices("approved")
        yield* Fiber.join(waiting)
        assert.strictEqual((yield* b.call("GET", `/v1/flows/${flowId}?wait=60`)).body["status"], "completed")
        const gaps = arrivals.slice(1).map((at, index) => (at - arrivals[index]!) / 1000)
        assert.isAtLeast(Math.min(...gaps), 0.99)
        assert.isAtLeast(Math.max(...gaps), 5.99)
        assert.strictEqual(provider.maxConcurrentTokenRequests(), 1)
        assert.strictEqual(provider.families.length, 1)
        for (const replica of [a, b, c]) {
          assert.strictEqual((yield* replica.call("POST", "/v1/connections/fake/token", {})).status, 200)
        }
      })),
    300_000
  )

  it.live(
    "EXT-01 another replica goes on when the one that polls is killed, before and in the middle of a poll",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { database, provider, start } = yield* installed
        const first = yield* start
        const flowId = yield* begin(first, provider)
        yield* provider.arrived("token", 2)
        const second = yield* start
        first.signal("SIGKILL")
        yield* first.ended
        const before = provider.requests("token").length
        yield* provider.arrived("token", before + 2)
        // Held at the provider: nobody else may ask as long as the lease lasts.
        const gate = yield* Deferred.make<void>()
        provider.script("token", [Reply.before(Deferred.await(gate))])
        const held = provider.requests("token").length + 1
        yield* provider.arrived("token", held)
        const third = yield* start
        second.signal("SIGKILL")
        yield* second.ended
        assert.strictEqual(provider.requests("token").length, held)
        yield* EmbeddedPostgres.statement(database.url, "UPDATE flows SET poll_at = poll_at - interval '1 minute'")
        yield* Deferred.succeed(gate, undefined)
        yield* provider.arrived("token", held + 1)
        provider.answerDevices("approved")
        const settled = yield* third.call("GET", `/v1/flows/${flowId}?wait=60`)
        assert.strictEqual(settled.body["status"], "completed")
        assert.strictEqual(provider.families.length, 1)
      })),
    300_000
  )
})
