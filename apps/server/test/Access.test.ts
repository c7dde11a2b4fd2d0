import { assert, describe, it } from "@effect/vitest"
import { EndpointPolicy, type Policy } from "@valetkey/api/Policy"
import { proxyMethods, proxyPolicy, proxyPrefix } from "@valetkey/api/ProxyApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Context, Effect } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

/** What the contract lets a caller do, by `METHOD path` as openapi.json spells it. */
const policies = new Map<string, Policy>([
  ...Object.values(ValetkeyApi.groups).flatMap((group) =>
    Object.values(group.endpoints as Record<string, HttpApiEndpoint.Top>).map((endpoint) =>
      [
        `${endpoint.method} ${endpoint.path.replaceAll(/:(\w+)/g, "{$1}")}`,
        Context.getOrUndefined(endpoint.annotations, EndpointPolicy)!
      ] as const
    )
  ),
  // The document has no QUERY.
  ...proxyMethods.filter((method) => method !== "QUERY").map((method) =>
    [`${method} ${proxyPrefix}{server}/{path}`, proxyPolicy] as const
  )
])

/** What a server answers to a request with a credential, or to one without. */
const asked = (api: string, method: string, path: string, credential: string | undefined) =>
  Effect.promise(async (signal) => {
    const response = await fetch(`${api}${path}`, {
      method,
      signal,
      redirect: "manual",
      headers: {
        ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
        ...(["POST", "PUT", "PATCH"].includes(method) ? { "content-type": "application/json" } : {})
      },
      // No endpoint takes it: what is let in is refused by its content, and nothing is done.
      ...(["POST", "PUT", "PATCH"].includes(method) ? { body: "{\"nothing\":\"of this\"}" } : {})
    })
    await response.arrayBuffer()
    return response.status
  })

describe("every endpoint of a running server", () => {
  it.live("DAEM-14 lets none, low and high principals do what its contract says, and nobody find another route", () =>
    Effect.scoped(Effect.gen(function*() {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "vka-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
      )
      const home = join(directory, "home")
      const { api } = yield* Replica.start({ VALETKEY_HOME: home, VALETKEY_LISTEN: "127.0.0.1:0" })
      const high = readFileSync(join(home, "run", "token"), "utf8").trim()
      const call = Replica.caller(api, high)
      const lowScopes = ["connections:read"] as const
      const made = yield* call("POST", "/v1/api-keys", { name: "low", scopes: lowScopes })
      const low = String(made.body["credential"])

      const { paths } = (yield* call("GET", "/v1/openapi.json")).body as {
        readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>
      }
      const operations = Object.entries(paths).flatMap(([path, item]) =>
        Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`)
      )
      assert.sameMembers(operations, [...policies.keys()])

      const refused = { none: 0, low: 0 }
      for (const operation of operations) {
        const [method = "", template = ""] = operation.split(" ")
        const path = template.replaceAll(/\{\w+\}/g, "019ab000-0000-7000-8000-000000000001")
        const policy = policies.get(operation)!
        const isOpen = policy._tag === "Open"
        const mayLow = isOpen || policy.scopes.every((scope) => (lowScopes as ReadonlyArray<string>).includes(scope))
        const [none, lesser, greater] = yield* Effect.all([
          asked(api, method, path, undefined),
          asked(api, method, path, low),
          asked(api, method, path, high)
        ])
        if (isOpen) assert.strictEqual(none, 200, operation)
        else assert.strictEqual(none, 401, operation)
        if (mayLow) assert.notInclude([401, 403], lesser, operation)
        else assert.strictEqual(lesser, 403, operation)
        assert.notInclude([401, 403], greater, operation)
        assert.isBelow(greater, 500, operation)
        refused.none += none === 401 ? 1 : 0
        refused.low += lesser === 403 ? 1 : 0
      }
      assert.isAbove(refused.none, refused.low)
      assert.isAbove(refused.low, 20)

      const unknown = ["/", "/v1", "/v1/nothing", "/v1/flows/x/y/z", "/internal", "/metrics", "/v1/admin", "/callback"]
      for (const path of unknown) {
        for (const credential of [undefined, low, high]) {
          for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH"]) {
            assert.strictEqual(yield* asked(api, method, path, credential), 404, `${method} ${path}`)
          }
        }
      }
      // Another spelling of a path is no way around its policy.
      for (
        const path of [
          "/v1//flows",
          "//v1/flows",
          "/v1/flows/",
          "/V1/flows",
          "/v1/./flows",
          "/v1/%66lows",
          "/livez/../v1/flows"
        ]
      ) {
        assert.include([401, 404], yield* asked(api, "POST", path, undefined), path)
        assert.include([403, 404], yield* asked(api, "POST", path, low), path)
      }
    })))
})
