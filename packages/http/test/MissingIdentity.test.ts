import { assert, describe, it } from "@effect/vitest"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Context, Effect, Redacted } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { createHmac } from "node:crypto"
import { allScopes, caller, deposit, jwt } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { Script } from "./Script.ts"

const guarded = Object.values(ValetkeyApi.groups).flatMap((group) =>
  Object.values(group.endpoints as Record<string, HttpApiEndpoint.Top>)
    .filter(({ annotations }) => Context.getOrUndefined(annotations, EndpointPolicy)?._tag === "Guarded")
)
const pathOf = (endpoint: HttpApiEndpoint.Top) =>
  endpoint.path.replace(":server", "notes").replace(":flowId", "018f0000-0000-7000-8000-000000000000")

const rest = {
  scope: allScopes,
  iss: jwt.issuer,
  aud: jwt.audience,
  exp: Math.floor(Date.now() / 1000) + 600
}

/** A token of the right secret, whose claims about the caller are this piece of JSON. */
const tokenOf = (identity: string): string => {
  const encode = (text: string) => Buffer.from(text).toString("base64url")
  const input = `${encode("{\"alg\":\"HS256\"}")}.${encode(`{${identity},${JSON.stringify(rest).slice(1)}`)}`
  return `${input}.${createHmac("sha256", Redacted.value(jwt.secret)).update(input).digest("base64url")}`
}

const claim = { tenant: "\"tenant\":\"acme\"", sub: "\"sub\":\"ada\"" }

/** Claims in which one of the two is not there, says nothing, or says two things. */
const corpus = (["tenant", "sub"] as const).flatMap((name) => {
  const other = claim[name === "tenant" ? "sub" : "tenant"]
  return [
    other,
    ...["\"\"", "\" \"", "\"\\t\"", "\"\\u00a0\"", "null", "0", "false", "[]", "[\"acme\"]", "{}"].map((value) =>
      `${other},"${name}":${value}`
    ),
    // RFC 7519 §4: which of the two counts would depend on who reads.
    `${other},${claim[name]},${claim[name]}`,
    `${other},${claim[name]},"${name}":"rival"`,
    `${other},"${name}":"","${name}":"acme"`,
    `${other},"${name.toUpperCase()}":"acme"`,
    `${other},"${name}_id":"acme"`
  ]
})

describe("a caller without a tenant or a subject", () => {
  it.effect("BIND-11 I26 is refused by every endpoint, reaches no store and no provider, and gets nobody's token", () =>
    Effect.gen(function*() {
      // What a default would find.
      for (const name of ["acme", "undefined", "null", "default", "local"]) {
        const owner = yield* caller({ tenant: name, sub: name === "acme" ? "ada" : name })
        assert.strictEqual((yield* owner.put("/v1/connections/notes", deposit())).status, 201)
      }
      const whole = tokenOf(`${claim.tenant},${claim.sub}`)
      assert.strictEqual((yield* send("GET", "/v1/connections/notes", { token: whole })).status, 200)
      const { calls } = yield* Script
      const before = calls.length
      for (const identity of corpus) {
        const token = tokenOf(identity)
        for (const endpoint of guarded) {
          const answer = yield* send(endpoint.method, `${pathOf(endpoint)}?tenant=acme&subject=ada`, {
            token,
            headers: { "x-tenant": "acme", "x-tenant-id": "acme", "x-user-id": "ada" }
          })
          assert.deepStrictEqual(
            [answer.status, answer.json["code"]],
            [401, "unauthorized"],
            `${endpoint.method} ${endpoint.path} ${identity}`
          )
        }
      }
      assert.deepStrictEqual(calls.slice(before), [])
    }).pipe(Effect.provide(layer())))

  it.effect("BIND-11 has no API key either: its tenant is its maker's, and its subject is never blank", () =>
    Effect.gen(function*() {
      const { apiKeys } = yield* MemoryWorld
      const ada = yield* caller()
      const wanted = { name: "job", scopes: ["tokens:read"] }
      for (const over of [{ tenant: "" }, { tenant: null }, { tenant: "rival" }, { subject: "" }, { subject: null }]) {
        const answer = yield* ada.post("/v1/api-keys", { ...wanted, ...over })
        assert.strictEqual(answer.status, 400, JSON.stringify(over))
      }
      for (const identity of corpus) {
        const answer = yield* send("POST", "/v1/api-keys", { token: tokenOf(identity), body: wanted })
        assert.strictEqual(answer.status, 401, identity)
      }
      assert.strictEqual(apiKeys.size, 0)
      assert.strictEqual((yield* ada.post("/v1/api-keys", wanted)).status, 201)
      assert.deepStrictEqual([...apiKeys.values()].map(({ key }) => [key.tenant, key.subject]), [["acme", "ada"]])
    }).pipe(Effect.provide(layer())))
})
