import { assert, describe, it } from "@effect/vitest"
import { DiscoveryError, RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Deferred, Effect, Fiber } from "effect"
import { caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { Http } from "./Http.ts"
import { issue, Script } from "./Script.ts"

describe("a deposit", () => {
  it.effect("asks the resource for its authorization server when it names nothing else, and repeats it as it spells itself", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const resource = "https://notes.example/mcp"
      const body = deposit({ tokenEndpoint: undefined, resource })
      script.discovery = new DiscoveryError({ code: "resource_unreachable" })
      const lost = yield* ada.put("/v1/connections/notes", body)
      assert.deepStrictEqual([lost.status, lost.json["code"]], [502, "resource_unreachable"])
      assert.strictEqual((yield* MemoryWorld).connections.size, 0)
      script.discovery = undefined
      assert.strictEqual((yield* ada.put("/v1/connections/notes", body)).status, 201)
      const { grant } = [...(yield* MemoryWorld).connections.values()][0]!.connection
      assert.deepInclude(grant, {
        issuer: "https://as.example",
        tokenEndpoint: "https://as.example/token",
        revocationEndpoint: "https://as.example/revoke",
        resource
      })
    }).pipe(Effect.provide(layer())))

  it.live("forgets what it did not prove when asked to, owes nothing, and keeps what came meanwhile", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const world = yield* MemoryWorld
      const http = yield* Http
      const put = (name: string) =>
        ada.put(`/v1/connections/${name}`, deposit({ verify: true, forgetUnproved: true, redemptionPolicy: "strict" }))
      const reasons: ReadonlyArray<readonly [RedemptionError["reason"], string]> = [
        [{ _tag: "Terminal", error: "invalid_grant" }, "deposit_refused"],
        [{ _tag: "UnknownOutcome" }, "deposit_refused"],
        [{ _tag: "Configuration", error: "invalid_client" }, "client_misconfigured"],
        [{ _tag: "Transient" }, "authorization_server_unavailable"]
      ]
      for (const [reason, code] of reasons) {
        script.refresh = () => Effect.fail(new RedemptionError({ reason }))
        assert.strictEqual((yield* put("notes")).json["code"], code)
        assert.strictEqual((yield* ada.get("/v1/connections/notes")).status, 404, code)
      }
      assert.deepStrictEqual([world.connections.size, world.outbox.size], [0, 0])

      script.refresh = issue
      assert.strictEqual((yield* put("notes")).status, 201)
      // Somebody deposits others while these are being refused.
      script.refresh = () =>
        ada.put("/v1/connections/mail", deposit({ replace: true })).pipe(
          Effect.provideService(Http, http),
          Effect.andThen(
            Effect.fail(new RedemptionError({ reason: { _tag: "Configuration", error: "invalid_client" } }))
          )
        )
      assert.strictEqual((yield* put("mail")).json["code"], "client_misconfigured")
      assert.deepInclude((yield* ada.get("/v1/connections/mail")).json, { generation: 2, status: "active" })
    }).pipe(Effect.provide(layer())))

  it.live("keeps what may be used up and may yet be redeemed, and says so", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const world = yield* MemoryWorld
      const second: ReadonlyArray<RedemptionError["reason"]> = [
        { _tag: "Transient" },
        { _tag: "Configuration", error: "invalid_client" }
      ]
      for (const [index, reason] of second.entries()) {
        const name = `/v1/connections/notes-${index}`
        let attempts = 0
        script.refresh = () =>
          Effect.fail(new RedemptionError({ reason: ++attempts === 1 ? { _tag: "UnknownOutcome" } : reason }))
        const answer = yield* ada.put(name, deposit({ verify: true, forgetUnproved: true }))
        assert.deepStrictEqual([answer.status, answer.json["code"], attempts], [422, "deposit_refused", 2])
        assert.strictEqual(answer.json["reason"], "unknown_outcome")
        assert.deepInclude((yield* ada.get(name)).json, { generation: 1, status: "active" })
      }
      assert.deepStrictEqual([world.connections.size, world.outbox.size], [2, 0])
    }).pipe(Effect.provide(layer())))

  it.live("is proved to its end and forgotten although the caller hangs up", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const world = yield* MemoryWorld
      const [asked, answered] = [Deferred.makeUnsafe<void>(), Deferred.makeUnsafe<void>()]
      script.refresh = () =>
        Deferred.succeed(asked, undefined).pipe(
          Effect.andThen(Deferred.await(answered)),
          Effect.andThen(Effect.fail(new RedemptionError({ reason: { _tag: "Terminal", error: "invalid_grant" } })))
        )
      const request = yield* Effect.forkChild(
        ada.put("/v1/connections/notes", deposit({ verify: true, forgetUnproved: true }))
      )
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(request)
      assert.strictEqual(world.connections.size, 1)
      yield* Deferred.succeed(answered, undefined)
      const { status } = yield* Effect.repeat(ada.get("/v1/connections/notes"), {
        until: ({ status }) => status === 404
      })
      assert.deepStrictEqual([status, world.connections.size, world.outbox.size], [404, 0, 0])
    }).pipe(Effect.provide(layer())))

  it.live("tells credentials that are refused from those that may be used up", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const script = yield* Script
      const prove = (reason: RedemptionError["reason"]) => {
        script.refresh = () => Effect.fail(new RedemptionError({ reason }))
        return ada.put("/v1/connections/notes", deposit({ verify: true, replace: true, redemptionPolicy: "strict" }))
      }
      const refused = yield* prove({ _tag: "Terminal", error: "invalid_grant" })
      assert.deepStrictEqual([refused.status, refused.json["code"]], [422, "deposit_refused"])
      assert.strictEqual(refused.json["reason"], "refresh_token_rejected")
      const unknown = yield* prove({ _tag: "UnknownOutcome" })
      assert.deepStrictEqual([unknown.status, unknown.json["code"]], [422, "deposit_refused"])
      assert.strictEqual(unknown.json["reason"], "unknown_outcome")
      assert.include(String(unknown.json["detail"]), "may be used up")
      assert.notStrictEqual(unknown.json["detail"], refused.json["detail"])
    }).pipe(Effect.provide(layer())))
})
