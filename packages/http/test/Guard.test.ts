import { assert, describe, it } from "@effect/vitest"
import { Authorization } from "@valetkey/api/Authorization"
import { Boundary } from "@valetkey/api/Boundary"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Tenants } from "@valetkey/domain/Tenants"
import { Context, Effect, Layer } from "effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as Guard from "../src/Guard.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import * as ProblemBoundary from "../src/ProblemBoundary.ts"
import { allScopes, caller, jwt, sign } from "./Caller.ts"
import { freshKeys, layer } from "./Harness.ts"
import { layerHttp, send } from "./Http.ts"
import { Script } from "./Script.ts"

const endpoints = Object.values(ValetkeyApi.groups).flatMap((group) =>
  Object.values(group.endpoints as Record<string, HttpApiEndpoint.Top>)
)
const pathOf = (endpoint: HttpApiEndpoint.Top) =>
  endpoint.path.replace(":server", "notes").replace(":flowId", "018f0000-0000-7000-8000-000000000000")
const policyOf = (endpoint: HttpApiEndpoint.Top) => Context.getOrUndefined(endpoint.annotations, EndpointPolicy)!
const stores = (calls: ReadonlyArray<string>) => calls.filter((call) => call.includes("Store."))

describe("Guard", () => {
  it.effect("API-01 S2.45 S3.27 lets nobody in without a credential, and challenges", () =>
    Effect.gen(function*() {
      const { calls } = yield* Script
      const before = calls.length
      const other = yield* Effect.promise(() => sign({}, freshKeys()))
      for (const endpoint of endpoints) {
        if (policyOf(endpoint)._tag === "Open") continue
        for (const token of [undefined, "", "nonsense", other]) {
          const answer = yield* send(endpoint.method, pathOf(endpoint), { token })
          assert.strictEqual(answer.status, 401, `${endpoint.method} ${endpoint.path}`)
          assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer realm="valetkey"/)
          assert.strictEqual(answer.json["code"], "unauthorized")
        }
      }
      assert.deepStrictEqual(stores(calls.slice(before)), [])
      assert.strictEqual((yield* send("GET", "/v1/nothing")).status, 404)
      assert.strictEqual((yield* send("GET", "/livez")).status, 200)
    }).pipe(Effect.provide(layer())))

  it.effect("S2.39 S2.40 S2.44 API-13 enforces for every endpoint exactly the scopes that its contract names", () =>
    Effect.gen(function*() {
      for (const endpoint of endpoints) {
        const policy = policyOf(endpoint)
        if (policy._tag === "Open") continue
        const without = allScopes.split(" ").filter((scope) =>
          !(policy.scopes as ReadonlyArray<string>).includes(scope)
        )
        const lacking = yield* caller({ scope: without.join(" ") })
        const refused = yield* send(endpoint.method, pathOf(endpoint), { token: lacking.token })
        assert.strictEqual(refused.status, 403, `${endpoint.method} ${endpoint.path}`)
        assert.deepStrictEqual(refused.json["requiredScopes"], policy.scopes)
        assert.include(refused.headers.get("www-authenticate") ?? "", "insufficient_scope")
        const holding = yield* caller({ scope: policy.scopes.join(" ") })
        const admitted = yield* send(endpoint.method, pathOf(endpoint), { token: holding.token })
        assert.notInclude([401, 403], admitted.status, `${endpoint.method} ${endpoint.path}`)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("S2.43 API-10 gives nothing for headers that claim another caller, host or path", () =>
    Effect.gen(function*() {
      const weak = yield* caller({ scope: "connections:read" })
      const claimed = yield* send("PUT", "/v1/servers/notes", {
        token: weak.token,
        body: { resource: "https://evil.example/mcp" },
        headers: {
          "forwarded": "for=127.0.0.1;host=evil.example;proto=http",
          "x-forwarded-host": "evil.example",
          "x-forwarded-proto": "http",
          "x-forwarded-uri": "/livez",
          "x-forwarded-user": "admin",
          "x-http-method-override": "GET",
          "x-original-url": "/livez",
          "x-valetkey-principal": "admin"
        }
      })
      assert.strictEqual(claimed.status, 403)
      const ada = yield* caller()
      const started = yield* send("POST", "/v1/flows", {
        token: ada.token,
        body: { server: "notes" },
        headers: { "x-forwarded-host": "evil.example", "x-forwarded-proto": "http" }
      })
      assert.notInclude(started.text, "evil.example")
    }).pipe(Effect.provide(layer())))

  it.effect("S3.50 settles identity, then policy, before it looks at the body or a store", () =>
    Effect.gen(function*() {
      const { calls } = yield* Script
      const before = calls.length
      const weak = yield* caller({ scope: "connections:read" })
      const bodies = ["{", "[]", JSON.stringify({ nothing: "of this" }), "x".repeat(200_000)]
      for (const body of bodies) {
        assert.strictEqual((yield* send("PUT", "/v1/connections/notes", { body })).status, 401)
        assert.strictEqual((yield* send("PUT", "/v1/connections/notes", { body, token: weak.token })).status, 403)
      }
      assert.deepStrictEqual(stores(calls.slice(before)), [])
    }).pipe(Effect.provide(layer())))

  it.effect("S2.42 I26 refuses an endpoint without a policy, and one that is guarded in name only", () => {
    const forgotten = HttpApiEndpoint.get("forgotten", "/forgotten", { success: HttpApiSchema.NoContent })
    const named = HttpApiEndpoint.get("named", "/named", { success: HttpApiSchema.NoContent })
      .annotate(EndpointPolicy, { _tag: "Guarded", scopes: ["admin"], kinds: ["jwt"] })
    const half = HttpApiEndpoint.get("half", "/half", { success: HttpApiSchema.NoContent }).middleware(Authorization)
    const kind = HttpApiEndpoint.get("kind", "/kind", { success: HttpApiSchema.NoContent })
      .annotate(EndpointPolicy, { _tag: "Guarded", scopes: ["admin"], kinds: ["local"] }).middleware(Authorization)
    const Api = HttpApi.make("dummy").add(HttpApiGroup.make("dummy").add(forgotten, named, half, kind))
      .middleware(Boundary)
    const ok = () => Effect.void
    const routes = HttpApiBuilder.layer(Api).pipe(
      Layer.provide(
        HttpApiBuilder.group(
          Api,
          "dummy",
          (handlers) => handlers.handleAll({ forgotten: ok, named: ok, half: ok, kind: ok })
        )
      ),
      Layer.provide([Guard.layer, ProblemBoundary.layer]),
      Layer.provide([
        JwtAuthenticator.layerSecret(jwt),
        Layer.mock(Tenants)({ admitted: () => Effect.void })
      ])
    )
    return Effect.gen(function*() {
      const { token } = yield* caller()
      for (const path of ["/forgotten", "/named", "/half", "/kind"]) {
        const answer = yield* send("GET", path, { token })
        assert.strictEqual(answer.status, 403, path)
        assert.strictEqual(answer.json["code"], "forbidden")
      }
    }).pipe(Effect.provide(layerHttp(routes)))
  })
})
