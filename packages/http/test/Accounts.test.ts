import { assert, describe, it } from "@effect/vitest"
import type { Account } from "@valetkey/domain/Account"
import { failureSentence } from "@valetkey/domain/Flow"
import * as AgeFile from "@valetkey/keyring/AgeFile"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import { type Caller, caller, deposit } from "./Caller.ts"
import { connect } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { issue, Script } from "./Script.ts"

const ada: Account = { issuer: "https://as.example", id: "1001", label: "ada@example.org" }
const bob: Account = { issuer: "https://as.example", id: "1002", label: "bob@example.org" }

const signIn = (account: Account) =>
  Effect.map(Script, (script) => {
    script.exchange = (n) => Effect.map(issue(n), (credentials) => ({ ...credentials, account }))
  })

/** Consents once more, and returns the settled flow. */
const again = (who: Caller) => Effect.map(connect(who, { reauthorize: true }), ({ settled }) => settled)

const notes = "/v1/connections/notes"

describe("the account of a connection", () => {
  it.effect("S2.16 BIND-13 is told with the flow and the connection, and stands nowhere in the clear", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      yield* signIn(ada)
      yield* connect(who)
      assert.deepStrictEqual((yield* who.get(notes)).json["account"], ada)
      const { connections } = (yield* who.get("/v1/connections")).json
      assert.deepInclude((connections as ReadonlyArray<unknown>)[0], { account: ada })
      const started = yield* who.post("/v1/flows", { server: "notes" })
      assert.deepInclude(started.json["connection"], { account: ada })
      const [row] = (yield* MemoryWorld).connections.values()
      const sealed = Buffer.from(row!.connection.account!)
      assert.strictEqual(sealed.subarray(0, 4).toString(), "VK01")
      for (const part of Object.values(ada)) assert.isFalse(sealed.includes(String(part)))
    }).pipe(Effect.provide(layer())))

  it.effect("BIND-13 fails a consent of another one with account_changed, and what was there works as before", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      yield* signIn(ada)
      yield* connect(who)
      const token = (yield* who.post(`${notes}/token`, {})).json
      yield* signIn(bob)
      const flow = yield* again(who)
      assert.deepInclude(flow.json, {
        status: "failed",
        failure: { code: "account_changed", message: failureSentence.account_changed }
      })
      assert.notProperty(flow.json, "connection")
      assert.deepStrictEqual((yield* who.post(`${notes}/token`, {})).json, token)
      assert.deepStrictEqual((yield* who.get(notes)).json["account"], ada)
      yield* who.put("/v1/servers/notes", { resource: "https://notes.example/mcp", accountChange: "replace" })
      const replaced = yield* again(who)
      assert.strictEqual(replaced.json["status"], "completed")
      const { account } = replaced.json["connection"] as { readonly account: Record<string, unknown> }
      assert.deepInclude(account, { ...bob })
      assert.isString(account["replacedAt"])
    }).pipe(Effect.provide(layer())))
})

describe("PUT /v1/servers/{server}", () => {
  it.effect("BIND-13 keeps what becomes of another account, and knows no other word for it", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      const put = (accountChange: string) =>
        who.put("/v1/servers/mail", { resource: "https://mail.example/mcp", accountChange })
      assert.strictEqual((yield* put("replace")).status, 201)
      assert.strictEqual((yield* who.get("/v1/servers/mail")).json["accountChange"], "replace")
      assert.strictEqual((yield* put("warn")).status, 400)
      assert.notProperty((yield* who.get("/v1/servers/notes")).json, "accountChange")
    }).pipe(Effect.provide(layer())))
})

describe("PUT /v1/connections/{server}", () => {
  it.effect("BIND-13 takes the account that its holder names, and a later consent is compared with it", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      const account = { ...ada, label: "ada\u202e@example.org" }
      assert.strictEqual((yield* who.put(notes, deposit({ account }))).status, 201)
      assert.deepStrictEqual((yield* who.get(notes)).json["account"], { ...ada, label: "ada @example.org" })
      yield* signIn(bob)
      assert.deepInclude((yield* again(who)).json["failure"], { code: "account_changed" })
      assert.strictEqual((yield* who.put(notes, deposit({ replace: true }))).status, 200)
      assert.notProperty((yield* who.get(notes)).json, "account")
    }).pipe(Effect.provide(layer())))

  it.effect("refuses an account without its issuer, with an id of many lines, and what it does not know", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      const odd = [{ id: "1" }, { ...ada, id: "" }, { ...ada, id: "1\n2" }, { ...ada, id: "x".repeat(256) }]
      for (
        const account of [...odd, { ...ada, issuer: "as.example" }, { ...ada, replacedAt: "2026-01-01T00:00:00Z" }]
      ) {
        assert.strictEqual((yield* who.put(notes, deposit({ account }))).status, 400)
      }
    }).pipe(Effect.provide(layer())))
})

describe("POST /v1/export", () => {
  it.live("BIND-13 takes the account along", () =>
    Effect.gen(function*() {
      const who = yield* caller()
      yield* who.put(notes, deposit({ account: ada }))
      const passphrase = Canary.makeText("passphrase")
      const answer = yield* who.post("/v1/export", { passphrase })
      const bytes = yield* Effect.promise(() =>
        AgeFile.open(Buffer.from(String(answer.json["archive"]), "base64"), { _tag: "Passphrase", passphrase })
      )
      const { connections } = JSON.parse(Buffer.from(bytes).toString())
      assert.deepStrictEqual(connections[0].account, ada)
    }).pipe(Effect.provide(layer())))
})
