import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect } from "effect"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Replica from "./support/Replica.ts"

/** A signed token as somebody's server would make it; its signature is nobody's. */
const signed = (claims: Record<string, unknown>, header: Record<string, unknown> = {}) =>
  [{ alg: "ES256", ...header }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .concat(Canary.makeText("signature")).join(".")

const inAnHour = Math.floor(Date.now() / 1000) + 3600

/** One server, an identity provider, and an authorization server that gives a token for any assertion. */
const deployed = Effect.gen(function*() {
  const [idp, as] = [yield* FakeProvider.make(), yield* FakeProvider.make()]
  const database = yield* EmbeddedPostgres.database
  const publicPort = yield* Replica.freePort
  const workload = join(mkdtempSync(join(tmpdir(), "vk-workload-")), "token")
  const { env, token } = Replica.deployment({
    databaseUrl: Replica.text(database.url),
    publicPort,
    allowEgress: [idp, as].map(({ origin }) => new URL(origin).host).join(",")
  })
  const replica = yield* Replica.start({
    ...env,
    VALETKEY_PUBLIC_LISTEN: `127.0.0.1:${publicPort}`,
    VALETKEY_WORKLOAD_TOKENS: `acme/cluster=${workload},other/other=${workload}`
  }, token)
  const accessToken = Canary.makeText("access_token")
  as.always("token", Reply.json(200, { access_token: accessToken, token_type: "Bearer", expires_in: 600 }))
  const clientSecret = Canary.makeText("client_secret")
  as.clients.set("robot", { clientId: "robot", secrets: [clientSecret] })
  const call = (method: string, path: string, body?: unknown) =>
    Effect.map(
      replica.call(method, path, body),
      ({ body, status }): Readonly<Record<string, unknown>> => ({ status, ...body })
    )
  return { idp, as, call, accessToken, workload, clientSecret }
})

const codeOf = ({ code, status }: Readonly<Record<string, unknown>>) => [status, code]

describe("tokens on somebody's word", () => {
  it.live("EXT-08 come for the ID token of a connected identity provider, which itself leaves nowhere", () =>
    Effect.scoped(Effect.gen(function*() {
      const { accessToken, as, call, clientSecret, idp } = yield* deployed
      yield* call("PUT", "/v1/servers/idp", {
        resource: idp.issuer,
        issuer: idp.issuer,
        scopes: ["openid"],
        tokens: "identity"
      })
      const notes = yield* call("PUT", "/v1/servers/notes", {
        resource: as.resource,
        grant: { type: "identity_assertion", identity: "idp" },
        client: { clientId: "robot", authMethod: "client_secret_post", clientSecret }
      })
      assert.strictEqual(notes.status, 201)
      assert.deepStrictEqual(codeOf(yield* call("POST", "/v1/flows", { server: "notes" })), [409, "identity_required"])

      const idToken = signed({ iss: idp.issuer, sub: "alice", aud: "fake-client", exp: inAnHour })
      const deposited = yield* call("PUT", "/v1/connections/idp", {
        issuer: idp.issuer,
        tokenEndpoint: `${idp.issuer}/token`,
        clientId: "fake-client",
        accessToken: idToken,
        refreshToken: Canary.makeText("refresh_token")
      })
      assert.strictEqual(deposited.status, 201, String(deposited["code"]))
      const claims = { iss: idp.issuer, aud: as.issuer, client_id: "robot", resource: as.resource, exp: inAnHour }
      const assertion = signed(claims, { typ: "oauth-id-jag+jwt" })
      idp.always(
        "token",
        Reply.json(200, {
          access_token: assertion,
          issued_token_type: "urn:ietf:params:oauth:token-type:id-jag",
          token_type: "N_A"
        })
      )
      const started = yield* call("POST", "/v1/flows", { server: "notes" })
      assert.strictEqual(started.status, 200, String(started["code"]))
      assert.strictEqual((yield* call("POST", "/v1/connections/notes/token"))["accessToken"], accessToken)
      const [exchanged, redeemed] = [idp, as].map((one) => new URLSearchParams(one.requests("token")[0]!.body))
      assert.strictEqual(exchanged!.get("subject_token"), idToken)
      assert.strictEqual(redeemed!.get("assertion"), assertion)
      assert.lengthOf([...idp.requests("token"), ...as.requests("token")], 2)

      const withheld = [403, "token_not_handed_out"]
      assert.deepStrictEqual(codeOf(yield* call("POST", "/v1/connections/idp/token")), withheld)
      // What the connection keeps does not change with the description.
      assert.strictEqual((yield* call("PUT", "/v1/servers/idp", { resource: idp.issuer })).status, 200)
      assert.deepStrictEqual(codeOf(yield* call("POST", "/v1/connections/idp/token")), withheld)
    })))

  it.live("come for the platform's own token, as its file has it, for the tenant that it is lent to", () =>
    Effect.scoped(Effect.gen(function*() {
      const { accessToken, as, call, workload } = yield* deployed
      const describeServer = (name: string) =>
        call("PUT", "/v1/servers/notes", {
          resource: as.resource,
          grant: { type: "workload_assertion", workload: name },
          client: { clientId: "workload", authMethod: "none" }
        })
      const missing = [503, "workload_token_missing"]
      assert.strictEqual((yield* describeServer("cluster")).status, 201)
      assert.deepStrictEqual(codeOf(yield* call("POST", "/v1/flows", { server: "notes" })), missing)
      yield* describeServer("other")
      assert.deepStrictEqual(codeOf(yield* call("POST", "/v1/flows", { server: "notes" })), missing)

      const token = signed({ aud: as.issuer })
      yield* Effect.sync(() => writeFileSync(workload, `${token}\n`))
      yield* describeServer("cluster")
      yield* call("POST", "/v1/flows", { server: "notes" })
      assert.strictEqual((yield* call("POST", "/v1/connections/notes/token"))["accessToken"], accessToken)
      assert.strictEqual(new URLSearchParams(as.requests("token")[0]!.body).get("assertion"), token)
    })))
})
