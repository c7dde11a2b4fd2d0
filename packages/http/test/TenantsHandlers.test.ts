import { assert, describe, it } from "@effect/vitest"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Tenants } from "@valetkey/domain/Tenants"
import { Context, Effect } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { allScopes, caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"

/** Every endpoint that acts for its caller's tenant. */
const endpoints = Object.values(ValetkeyApi.groups).flatMap((group) =>
  Object.values(group.endpoints as Record<string, HttpApiEndpoint.Top>).filter((endpoint) => {
    const policy = Context.getOrUndefined(endpoint.annotations, EndpointPolicy)
    return policy?._tag === "Guarded" && !policy.scopes.includes("operator")
  })
)

const pathOf = ({ path }: HttpApiEndpoint.Top) =>
  path.replace(":server", "notes").replace(/:\w+/g, "018f0000-0000-7000-8000-000000000000")

const finish = Effect.gen(function*() {
  yield* (yield* Tenants).proceed
  yield* (yield* Housekeeping).revoke
  return yield* (yield* Tenants).proceed
})

describe("the endpoints of tenants", () => {
  it.effect("I26 are the operator's alone", () =>
    Effect.gen(function*() {
      const admin = yield* caller({ scope: allScopes.replace(" operator", "") })
      for (
        const answer of [
          yield* admin.get("/v1/tenants/acme"),
          yield* admin.delete("/v1/tenants/acme"),
          yield* admin.post("/v1/tenants/acme/allow")
        ]
      ) {
        assert.strictEqual(answer.status, 403)
        assert.deepStrictEqual(answer.json["requiredScopes"], ["operator"])
      }
      const operator = yield* caller()
      assert.deepStrictEqual((yield* operator.get("/v1/tenants/acme")).json, {
        tenant: "acme",
        state: "active",
        connections: 0,
        revocations: 0
      })
    }).pipe(Effect.provide(layer())))

  it.effect("LIFE-02 refuse everything that the tenant may call, before it is looked at, and let its operator go on", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const other = yield* caller({ tenant: "other" })
      assert.strictEqual((yield* ada.put("/v1/connections/mail", deposit({ accessToken: "at" }))).status, 201)
      assert.strictEqual((yield* other.put("/v1/connections/mail", deposit({ accessToken: "at" }))).status, 201)
      assert.strictEqual((yield* ada.post("/v1/connections/mail/token", {})).status, 200)

      const deleted = yield* ada.delete("/v1/tenants/acme")
      assert.strictEqual(deleted.status, 202)
      assert.strictEqual(deleted.json["state"], "deleting")
      assert.isAbove(endpoints.length, 20)
      for (const endpoint of endpoints) {
        const refused = yield* send(endpoint.method, pathOf(endpoint), {
          token: ada.token,
          ...(endpoint.method === "GET" ? {} : { body: "{" })
        })
        assert.deepStrictEqual([refused.status, refused.json["code"]], [410, "tenant_deleted"], pathOf(endpoint))
      }
      assert.strictEqual((yield* ada.post("/v1/connections/mail/token", {})).json["code"], "tenant_deleted")
      assert.strictEqual((yield* ada.get("/v1/keys")).status, 200)
      assert.strictEqual((yield* ada.post("/v1/tenants/acme/allow")).json["code"], "tenant_deleting")

      yield* finish
      const gone = yield* other.get("/v1/tenants/acme")
      assert.strictEqual(gone.json["state"], "deleted")
      assert.isString(gone.json["deletedAt"])
      assert.strictEqual((yield* ada.delete("/v1/tenants/acme")).json["state"], "deleted")
      assert.strictEqual((yield* other.post("/v1/connections/mail/token", {})).status, 200)
      assert.strictEqual((yield* ada.post("/v1/tenants/acme/allow")).status, 204)
      assert.strictEqual((yield* ada.get("/v1/connections/mail")).status, 404)
    }).pipe(Effect.provide(layer())))

  it.effect("take a name as credentials carry it, and no other text", () =>
    Effect.gen(function*() {
      const operator = yield* caller()
      for (const name of ["org/a:1|%2F", "x".repeat(255)]) {
        const path = `/v1/tenants/${encodeURIComponent(name)}`
        assert.strictEqual((yield* operator.delete(path)).status, 202)
        assert.strictEqual((yield* operator.get(path)).json["tenant"], name)
      }
      for (const wrong of [" ", "a b", "é", "\u0000", "__proto__", "x".repeat(256)]) {
        const answer = yield* operator.delete(`/v1/tenants/${encodeURIComponent(wrong)}`)
        assert.strictEqual(answer.status, 400, JSON.stringify(wrong))
      }
    }).pipe(Effect.provide(layer())))
})
