import { assert, describe, it } from "@effect/vitest"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import { Context, Effect, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { caller } from "./Caller.ts"
import { callbackPath } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"

/** The way to the database, which counts what is asked of it. */
class Wire extends Context.Service<Wire, TcpProxy.TcpProxy>()("test/Wire") {}

const onPostgres = Layer.unwrap(Effect.gen(function*() {
  const { url } = yield* EmbeddedPostgres.database
  const { hostname, port } = new URL(Redacted.value(url))
  const wire = yield* TcpProxy.make({ host: hostname, port: Number(port) })
  const store = PostgresStore.layer({ url: Redacted.make(wire.through(Redacted.value(url))) })
  return Layer.mergeAll(MemoryStore.layer, Layer.orDie(store), Layer.succeed(Wire, wire))
}))

describe("a flood of junk at the redirect URI", () => {
  it.effect("FLOW-02 sends the database not one byte, and the legitimate response completes in the middle of it", () => {
    const world = Layer.unwrap(Effect.map(Layer.build(onPostgres), (services) => {
      const store = Layer.succeedContext(services)
      return Layer.merge(layer({ store }), store)
    }))
    return Effect.gen(function*() {
      const wire = yield* Wire
      const ada = yield* caller()
      const started = yield* ada.post("/v1/flows", { server: "notes" })
      const callback = new URL(yield* callbackPath, "http://localhost")
      const state = callback.searchParams.get("state") ?? ""
      const bytes = Buffer.from(state, "base64url")
      const forged = () => {
        const copy = Buffer.concat([randomBytes(32), bytes.subarray(32)])
        return copy.toString("base64url")
      }
      const another = () => Buffer.concat([randomBytes(36), bytes.subarray(36)]).toString("base64url")
      const junk = (index: number) =>
        [
          another,
          () => randomBytes(32).toString("base64url"),
          forged,
          () => "A".repeat(1 + index % 1000),
          () => state.slice(0, 60) + randomBytes(8).toString("base64url").slice(0, 10)
        ][index % 5]!()
      const flood = Effect.fnUntraced(function*(from: number) {
        const before = wire.asked()
        const pages = new Set<string>()
        for (let index = from; index < from + 2000; index++) {
          const url = new URL(callback)
          url.searchParams.set("state", junk(index))
          const answer = yield* send("GET", url.pathname + url.search)
          pages.add(`${answer.status} ${answer.text}`)
        }
        assert.strictEqual(wire.asked() - before, 0)
        assert.strictEqual(pages.size, 1)
        assert.match([...pages][0] ?? "", /^400 [^]*Nothing was changed/)
      })
      yield* flood(0)
      const before = wire.asked()
      assert.strictEqual((yield* send("GET", callback.pathname + callback.search)).status, 303)
      assert.isAbove(wire.asked(), before)
      const settled = yield* ada.get(`/v1/flows/${String(started.json["flowId"])}?wait=30`)
      assert.strictEqual(settled.json["status"], "completed")
      yield* flood(2000)
    }).pipe(Effect.provide(world))
  })
})
