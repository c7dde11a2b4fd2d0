import { assert, describe, it } from "@effect/vitest"
import { DiscoveryError, RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Effect } from "effect"
import { caller, deposit, layer, Script } from "./Harness.ts"

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
