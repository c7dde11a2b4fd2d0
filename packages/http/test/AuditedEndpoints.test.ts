import { assert, describe, it } from "@effect/vitest"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import type { AuditEvent } from "@valetkey/domain/AuditEvent"
import { AuditLog } from "@valetkey/domain/AuditLog"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { StoreError } from "@valetkey/domain/StoreError"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { type Caller, caller, deposit } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"
import type { Http } from "./Http.ts"
import type { Script } from "./Script.ts"

type Calls = (ada: Caller) => Effect.Effect<unknown, never, AuditTrail | Http | MemoryWorld | Script>

/** The event that an endpoint records, what else it says, and the calls of which the last one is recorded. */
type Recorded = readonly [action: AuditEvent["action"], event: Partial<AuditEvent>, calls: Calls]

const notes = "/v1/servers/notes"
const mail = "/v1/connections/mail"
const start = (ada: Caller) =>
  Effect.map(ada.post("/v1/flows", { server: "notes" }), ({ json }) => String(json["flowId"]))

const idOf = (ada: Caller) =>
  Effect.map(
    ada.post("/v1/api-keys", { name: "job", scopes: ["tokens:read"] }),
    ({ json }) => (json["apiKey"] as { readonly id: string }).id
  )

/** Every endpoint that changes something, with the event that tells of it or the reason why none does. */
const table: Readonly<Record<string, Recorded | string>> = {
  "flows.start": ["flow.started", { server: "notes" as never }, start],
  "flows.cancel": [
    "flow.settled",
    { outcome: "cancelled" },
    (ada) => Effect.flatMap(start(ada), (id) => ada.delete(`/v1/flows/${id}`))
  ],
  "flows.paste": "what it lets happen is recorded as flow.settled when it has happened",
  "flows.handOff": [
    "flow.handed_off",
    { outcome: "device" },
    (ada) => Effect.flatMap(start(ada), (id) => ada.post(`/v1/flows/${id}/handoff`, { transport: "device" }))
  ],
  "flows.finalize": "what it lets happen is recorded as flow.settled when it has happened",
  "connections.deposit": ["connection.deposited", { generation: 1 }, (ada) => ada.put(mail, deposit())],
  "connections.disconnect": [
    "connection.disconnected",
    {},
    (ada) => Effect.andThen(ada.put(mail, deposit()), ada.delete(mail))
  ],
  "exports.forget": [
    "connection.forgotten",
    {},
    (ada) => Effect.andThen(ada.put(mail, deposit()), ada.post(`${mail}/forget`, { generation: 1 }))
  ],
  "exports.seal": [
    "connection.exported",
    {},
    (ada) =>
      Effect.andThen(
        ada.put(mail, deposit({ accessToken: "at" })),
        ada.post("/v1/export", { passphrase: Canary.makeText("passphrase") })
      )
  ],
  "console.open": ["console.link_created", {}, (ada) => ada.post("/v1/console")],
  "tokens.get": ["token.read", {}, (ada) => Effect.andThen(connect(ada), ada.post("/v1/connections/notes/token", {}))],
  "servers.put": [
    "server.stored",
    { server: "notes" as never },
    (ada) => ada.put(notes, { resource: "https://notes.example/mcp" })
  ],
  "servers.remove": ["server.removed", { server: "notes" as never }, (ada) => ada.delete(notes)],
  "apiKeys.create": ["api_key.created", {}, idOf],
  "apiKeys.revoke": [
    "api_key.revoked",
    {},
    (ada) => Effect.flatMap(idOf(ada), (id) => ada.delete(`/v1/api-keys/${id}`))
  ],
  "instance.takeOver": [
    "instance.taken_over",
    { target: "test" },
    (ada) => ada.post("/v1/instance/takeover", { confirm: true })
  ],
  "keys.add": ["root_key.added", { outcome: "keys_managed_elsewhere" }, (ada) => ada.post("/v1/keys")],
  "keys.rewrap": ["root_key.rewrapped", { count: 0 }, (ada) => ada.post("/v1/keys/rewrap")],
  "keys.promote": ["root_key.promoted", { target: "1" }, (ada) => ada.post("/v1/keys/1/promote")],
  "keys.retire": [
    "root_key.retired",
    { target: "1", outcome: "key_in_use" },
    (ada) => Effect.andThen(ada.get("/v1/keys"), ada.post("/v1/keys/1/retire"))
  ],
  "tenants.remove": [
    "tenant.deletion_requested",
    { target: "umbrella" },
    (ada) => ada.delete("/v1/tenants/umbrella")
  ],
  "tenants.allow": ["tenant.allowed", { target: "umbrella" }, (ada) => ada.post("/v1/tenants/umbrella/allow")]
}

const changing = Object.entries(ValetkeyApi.groups).flatMap(([group, { endpoints }]) =>
  Object.entries(endpoints as Record<string, HttpApiEndpoint.Top>)
    .filter(([, { method }]) => method !== "GET")
    .map(([name]) => `${group}.${name}`)
)

const events = Effect.gen(function*() {
  yield* (yield* AuditTrail).flush
  return [...(yield* MemoryWorld).audit]
})

describe("the audit of what changes", () => {
  it("LEAK-12 has a row for every endpoint of the contract that changes something, and no other", () => {
    assert.deepStrictEqual(Object.keys(table).toSorted(), changing.toSorted())
  })

  for (const [name, row] of Object.entries(table)) {
    if (typeof row === "string") continue
    const [action, expected, calls] = row
    it.effect(`LEAK-12 ${name} leaves one event, ${action}, with who and what and from where`, () =>
      Effect.gen(function*() {
        const ada = yield* caller()
        yield* calls(ada)
        const found = (yield* events).filter((event) => event.action === action)
        assert.lengthOf(found, 1)
        assert.deepInclude(
          found[0],
          { tenant: "acme", subject: "ada", principal: "jwt", from: "socket", ...expected } as never
        )
        if (name.startsWith("apiKeys.")) assert.match(found[0]!.target!, /^vk_[0-9a-f]{32}$/)
        if (expected.outcome === undefined && action !== "flow.started") assert.strictEqual(found[0]!.outcome, "ok")
      }).pipe(Effect.provide(layer())))
  }

  it.effect("LEAK-12 tells of a change that was refused, and takes no text of a caller for a name", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const credential = `vk_${"0".repeat(32)}_${"A".repeat(43)}`
      for (const id of [credential, `vk_${"0".repeat(32)}`]) {
        assert.strictEqual((yield* ada.delete(`/v1/api-keys/${id}`)).status, 404)
      }
      yield* ada.post("/v1/keys/99/promote")
      const found = yield* events
      assert.deepStrictEqual(found.map(({ action, outcome, target }) => [action, outcome, target]), [
        ["api_key.revoked", "api_key_not_found", undefined],
        ["api_key.revoked", "api_key_not_found", `vk_${"0".repeat(32)}`],
        ["root_key.promoted", "key_not_found", "99"]
      ])
    }).pipe(Effect.provide(layer())))

  it.effect("fails no change while the log is away", () =>
    Effect.gen(function*() {
      const ada = yield* caller()
      const log = yield* AuditLog
      const { append } = log
      const away = Effect.fail(new StoreError({ code: "store_unavailable", operation: "append" }))
      Object.assign(log, { append: () => away })
      assert.strictEqual((yield* ada.delete(notes)).status, 204)
      Object.assign(log, { append })
      assert.deepStrictEqual((yield* events).map(({ action }) => action), ["server.removed"])
    }).pipe(Effect.provide(layer())))
})
