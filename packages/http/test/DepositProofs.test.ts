import { assert, describe, it } from "@effect/vitest"
import { DiscoveryError, RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect } from "effect"
import { caller, deposit, Http, issue, layer, Script } from "./Harness.ts"

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
