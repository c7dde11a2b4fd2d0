import { assert, describe, it } from "@effect/vitest"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Migrations from "@valetkey/store-postgres/Migrations"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Context, Effect, Layer } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { type Caller, caller, deposit } from "./Caller.ts"
import { callbackPath } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { type Answer, type Http, send } from "./Http.ts"
import type { Script } from "./Script.ts"

/** Every guarded endpoint of the contract, as `group.endpoint`. */
const endpoints = Object.entries(ValetkeyApi.groups).flatMap(([group, { endpoints }]) =>
  Object.entries(endpoints as Record<string, HttpApiEndpoint.Top>)
    .filter(([, endpoint]) => Context.getOrUndefined(endpoint.annotations, EndpointPolicy)?._tag === "Guarded")
    .map(([name, endpoint]) => ({ name: `${group}.${name}`, endpoint }))
)

/** What belongs to the installation and to no tenant. */
const isInstallationWide = (name: string) => ["keys.", "instance.", "tenants."].some((group) => name.startsWith(group))

/** What a tenant's steps hand on. */
interface Memory {
  flowId: string
  apiKeyId: string
  revocationId: string
}

type Step = (
  caller: Caller,
  memory: Memory
) => Effect.Effect<Answer, never, AuditTrail | Http | Script>

const path = "/v1/connections/notes"

/** Somebody whose identity nobody has. */
const recipient = "age1ckrv9ydac2jntylgp6x7wmuqq7ua6rmxks2nznugzfgaweudxu6sc34m26"

const start = (ada: Caller, memory: Memory) =>
  Effect.tap(
    ada.post("/v1/flows", { server: "notes", reauthorize: true }),
    ({ json }) => Effect.sync(() => memory.flowId = String(json["flowId"]))
  )

/** One life of a tenant, step by step. Each step names the endpoint that it observes. */
const life: ReadonlyArray<readonly [string, Step]> = [
  ["servers.put", (ada) => ada.put("/v1/servers/notes", { resource: "https://notes.example/mcp" })],
  ["servers.list", (ada) => ada.get("/v1/servers")],
  ["servers.get", (ada) => ada.get("/v1/servers/notes")],
  ["flows.start", start],
  ["flows.start", (ada) => ada.post("/v1/flows", { server: "notes" })],
  ["flows.status", (ada, { flowId }) => ada.get(`/v1/flows/${flowId}`)],
  ["flows.cancel", (ada, { flowId }) => ada.delete(`/v1/flows/${flowId}`)],
  [
    "flows.paste",
    (ada, { flowId }) => ada.post(`/v1/flows/${flowId}/callback`, { url: "http://127.0.0.1:1/cb?state=s&code=c" })
  ],
  ["flows.handOff", (ada, { flowId }) => ada.post(`/v1/flows/${flowId}/handoff`, { transport: "device" })],
  [
    "flows.handOff",
    (ada, memory) =>
      Effect.andThen(start(ada, memory), () => ada.post(`/v1/flows/${memory.flowId}/handoff`, { transport: "device" }))
  ],
  ["flows.cancel", (ada, { flowId }) => ada.delete(`/v1/flows/${flowId}`)],
  ["flows.finalize", (ada, { flowId }) => ada.post(`/v1/flows/${flowId}/finalize`, { completionCode: "guessed" })],
  [
    "flows.status",
    Effect.fnUntraced(function*(ada, memory) {
      yield* start(ada, memory)
      yield* send("GET", yield* callbackPath)
      return yield* ada.get(`/v1/flows/${memory.flowId}?wait=30`)
    })
  ],
  ["connections.get", (ada) => ada.get(path)],
  ["tokens.get", (ada) => ada.post(`${path}/token`, {})],
  ["connections.deposit", (ada) => ada.put(path, deposit())],
  ["connections.deposit", (ada) => ada.put(path, deposit({ replace: true }))],
  ["connections.deposit", (ada) => ada.put("/v1/connections/mail", deposit({ verify: true }))],
  ["connections.list", (ada) => ada.get("/v1/connections?limit=1")],
  ["connections.list", (ada) => ada.get("/v1/connections?after=mail")],
  ["tokens.get", (ada) => ada.post(`${path}/token`, {})],
  [
    "apiKeys.create",
    (ada, memory) =>
      Effect.tap(
        ada.post("/v1/api-keys", { name: "job", scopes: ["tokens:read"] }),
        ({ json }) => Effect.sync(() => memory.apiKeyId = (json["apiKey"] as { readonly id: string }).id)
      )
  ],
  ["apiKeys.list", (ada) => ada.get("/v1/api-keys")],
  ["apiKeys.revoke", (ada, { apiKeyId }) => ada.delete(`/v1/api-keys/${apiKeyId}`)],
  ["apiKeys.list", (ada) => ada.get("/v1/api-keys")],
  ["exports.seal", (ada) => ada.post("/v1/export", { recipient })],
  ["exports.forget", (ada) => ada.post("/v1/connections/mail/forget", { generation: 2 })],
  ["connections.list", (ada) => ada.get("/v1/connections")],
  ["connections.disconnect", (ada) => ada.delete(path)],
  ["connections.history", (ada) => Effect.andThen(flush, ada.get(`${path}/history?limit=3`))],
  [
    "connections.history",
    (ada) =>
      Effect.flatMap(
        ada.get(`${path}/history?limit=1`),
        ({ json }) => ada.get(`${path}/history?before=${json["next"]}`)
      )
  ],
  ["connections.get", (ada) => ada.get(path)],
  [
    "revocations.list",
    (ada, memory) =>
      Effect.tap(
        ada.get("/v1/revocations?server=notes&limit=1"),
        ({ json }) =>
          Effect.sync(() => memory.revocationId = (json["revocations"] as ReadonlyArray<{ id: string }>)[0]!.id)
      )
  ],
  ["revocations.get", (ada, { revocationId }) => ada.get(`/v1/revocations/${revocationId}`)],
  ["revocations.list", (ada, { revocationId }) => ada.get(`/v1/revocations?after=${revocationId}`)],
  ["tokens.get", (ada) => ada.post(`${path}/token`, {})],
  ["console.open", (ada) => ada.post("/v1/console")],
  ["servers.remove", (ada) => ada.delete("/v1/servers/notes")],
  ["servers.list", (ada) => ada.get("/v1/servers")],
  ["audit.list", (ada) => Effect.andThen(flush, ada.get("/v1/audit"))],
  ["audit.verify", (ada) => ada.get("/v1/audit/verification")]
]

const flush = Effect.flatMap(AuditTrail, (trail) => trail.flush)

/** What a caller learns of an answer, but for what is made up anew each time: ids, secrets, digests, instants. */
const observed = ({ headers, status, text }: Answer): string =>
  [status, headers.get("www-authenticate"), headers.get("retry-after"), text]
    .join(" ")
    .replaceAll(/CANARY-\w+-[0-9A-Za-z]{32}/g, "<secret>")
    .replaceAll(/"archive":"[^"]+"/g, "<archive>")
    .replaceAll(/vk_[0-9a-f]{32}(_[A-Za-z0-9_-]{43})?/g, "<key>")
    .replaceAll(/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/g, "<id>")
    .replaceAll(/callback%2F[\w-]+/g, "<callback>")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>")
    .replaceAll(/\d+:[0-9a-f]{16}/g, "<fingerprint>")
    .replaceAll(/[A-Za-z0-9_-]{70}/g, "<state>")
    .replaceAll(/[A-Za-z0-9_-]{43}/g, "<digest>")
    .replaceAll(/[B-Z]{4}-[B-Z]{4}/g, "<code>")

/** Lives a tenant's life; `between` happens before each of its steps. */
const live = Effect.fnUntraced(function*<R>(
  claims: Readonly<Record<string, unknown>>,
  between: (index: number) => Effect.Effect<unknown, never, R>
) {
  const ada = yield* caller(claims)
  const memory: Memory = { flowId: "", apiKeyId: "", revocationId: "" }
  const seen: Array<string> = []
  for (const [index, [name, step]] of life.entries()) {
    yield* between(index)
    seen.push(`${name} ${observed(yield* step(ada, memory))}`)
  }
  return seen
})

/** A store whose role row-level security applies to. */
const onPostgres = Layer.unwrap(Effect.gen(function*() {
  const { url } = yield* EmbeddedPostgres.database
  yield* Migrations.apply({ url })
  return PostgresStore.layer({ url: yield* EmbeddedPostgres.applicationRole(url), migrate: false })
}))

const stores = [
  { name: "memory", store: MemoryStore.layer },
  { name: "Postgres as a role that owns nothing", store: Layer.merge(MemoryStore.layer, Layer.orDie(onPostgres)) }
]

describe.each(stores)("Isolation on $name", ({ store }) => {
  const alone = Effect.provide(live({}, () => Effect.void), layer({ store }), { local: true })

  it("has a step for every endpoint of the contract", () => {
    const lived = new Set(life.map(([name]) => name))
    assert.deepStrictEqual(
      endpoints.map(({ name }) => name).filter((name) => !isInstallationWide(name) && !lived.has(name)),
      []
    )
  })

  for (const rival of [{ tenant: "rival" }, { tenant: "ACME", sub: "ada" }, { tenant: "acme", sub: "grace" }]) {
    const isSameTenant = rival.tenant === "acme"
    it.effect(`I10 API-02 shows a caller the same with ${JSON.stringify(rival)} beside it as without`, () =>
      Effect.gen(function*() {
        const baseline = yield* alone
        const beside = yield* Effect.provide(
          Effect.gen(function*() {
            const other = yield* caller(rival)
            const memory: Memory = { flowId: "", apiKeyId: "", revocationId: "" }
            // Who shares the tenant shares its servers, keys and record; what is the person's own is compared.
            return yield* live({}, (index) => {
              const [name, step] = life[index]!
              return isSameTenant && isOfTenant(name) ? Effect.void : step(other, memory)
            })
          }),
          layer({ store }),
          { local: true }
        )
        const own = (seen: ReadonlyArray<string>) =>
          isSameTenant ? seen.filter((line) => !line.startsWith("audit.")) : seen
        assert.deepStrictEqual(own(beside), own(baseline))
      }))

    it.effect(`I10 API-02 answers what belongs to ${JSON.stringify(rival)} like what does not exist`, () =>
      Effect.gen(function*() {
        const ada = yield* caller()
        const other = yield* caller(rival)
        const memory: Memory = { flowId: "", apiKeyId: "", revocationId: "" }
        if (!isSameTenant) yield* other.put("/v1/servers/foreign", { resource: "https://notes.example/mcp" })
        yield* other.put("/v1/connections/foreign", deposit())
        if (!isSameTenant) yield* other.put("/v1/servers/notes", { resource: "https://notes.example/mcp" })
        yield* start(other, memory)
        const made = yield* other.post("/v1/api-keys", { name: "job", scopes: ["tokens:read"] })
        const keyId = (made.json["apiKey"] as { readonly id: string }).id
        yield* other.put("/v1/connections/ended", deposit())
        yield* other.delete("/v1/connections/ended")
        const { revocations } = (yield* other.get("/v1/revocations")).json as {
          readonly revocations: ReadonlyArray<{ readonly id: string }>
        }
        const receiptId = revocations[0]!.id
        const bodies: Readonly<Record<string, unknown>> = {
          "connections.deposit": { ...deposit(), refreshToken: "" },
          "exports.forget": { generation: 1 },
          "flows.paste": { url: "http://127.0.0.1:1/cb?state=s&code=c" },
          "servers.put": { resource: "no URL" },
          "tokens.get": {}
        }
        for (const { endpoint, name } of endpoints) {
          if (!endpoint.path.includes(":") || isInstallationWide(name) || (isSameTenant && isOfTenant(name))) continue
          const at = (slug: string, flowId: string, id: string) =>
            endpoint.path.replace(":server", slug).replace(":flowId", flowId).replace(":id", id)
          const ask = (target: string) => send(endpoint.method, target, { token: ada.token, body: bodies[name] })
          const ids = name === "revocations.get" ? [receiptId, "A".repeat(43)] : [keyId, `vk_${"0".repeat(32)}`]
          const foreign = yield* ask(at("foreign", memory.flowId, ids[0]!))
          const absent = yield* ask(at("unheard", "018f0000-0000-7000-8000-000000000000", ids[1]!))
          const blur = (answer: Answer) => observed(answer).replaceAll(/foreign|unheard/g, "<name>")
          assert.strictEqual(blur(foreign), blur(absent), name)
        }
        assert.strictEqual((yield* other.get("/v1/connections/foreign")).json["status"], "active")
        assert.strictEqual((yield* other.get(`/v1/flows/${memory.flowId}`)).json["status"], "pending")
        const keys = (yield* other.get("/v1/api-keys")).json["apiKeys"] as ReadonlyArray<object>
        assert.notProperty(keys[0], "revokedAt")
      }).pipe(Effect.provide(layer({ store }))))
  }
})

/** What all people of a tenant share. */
function isOfTenant(name: string): boolean {
  return name.startsWith("servers.") || name.startsWith("apiKeys.") || name.startsWith("audit.")
}
