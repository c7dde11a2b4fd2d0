import { assert } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import type { FakeProvider } from "@valetkey/testing/FakeProvider"
import type * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted } from "effect"
import type { Api } from "./Api.ts"
import type { Evidence } from "./Evidence.ts"

/** What the story plays on. */
export interface Scene {
  readonly api: Api
  readonly provider: FakeProvider
  readonly evidence: Evidence
  /** The name of the server. It is no secret, and so shows where a secret would be seen. */
  readonly server: string
  readonly clientSecret: Redacted.Redacted
}

/** Plays a whole life of a connection against a provider that says back, in every error, all that it was told. */
export const play = Effect.fnUntraced(function*({ api, clientSecret, evidence, provider, server }: Scene) {
  const connection = `/v1/connections/${server}`
  const registered = yield* api.call("PUT", `/v1/servers/${server}`, {
    body: {
      resource: provider.resource,
      client: {
        clientId: "confidential",
        authMethod: "client_secret_basic",
        clientSecret: Redacted.value(clientSecret)
      }
    }
  })
  assert.strictEqual(registered.status, 201)

  const visit = Effect.fnUntraced(function*(alter?: (callback: URL) => void) {
    const started = yield* api.call("POST", "/v1/flows", {
      body: { server, reauthorize: true },
      secret: ["authorizationUrl", "connectUrl"]
    })
    assert.strictEqual(started.status, 201, started.text)
    const person = UserAgent.make()
    const { authorizationUrl, connectUrl } = started.json
    if (connectUrl !== undefined) Canary.register("ticket", String(connectUrl).split("/").at(-1) ?? "")
    const url = connectUrl === undefined
      ? new URL(String(authorizationUrl))
      : yield* person.leave(String(connectUrl))
    for (const [, value] of person.cookies.all()) Canary.register("binding", value)
    Canary.register("state", url.searchParams.get("state") ?? "")
    const callback = yield* person.callbackUrl(url, url.searchParams.get("redirect_uri") ?? "")
    if (alter !== undefined) {
      const forged = new URL(callback)
      alter(forged)
      const page = yield* person.request(forged)
      evidence.record("html", `${JSON.stringify([...page.headers])}\n${page.body}`)
      assert.isAtLeast(page.status, 400)
    }
    let page = yield* person.request(callback)
    evidence.record("html", `${JSON.stringify([...page.headers])}\n${page.body}`)
    const next = page.headers.get("location")
    if (next !== null) page = yield* person.request(new URL(next, callback))
    evidence.record("html", `${JSON.stringify([...page.headers])}\n${page.body}`)
    const flow = yield* api.call("GET", `/v1/flows/${String(started.json["flowId"])}?wait=10`)
    for (const { form } of provider.requests("token")) {
      Canary.register("code_verifier", form.get("code_verifier") ?? "")
    }
    return flow.json
  })
  const failure = (flow: Readonly<Record<string, unknown>>) => (flow["failure"] as { readonly code: string }).code

  provider.behaviour.consent = { error: "access_denied" }
  assert.strictEqual(failure(yield* visit()), "access_denied")
  provider.behaviour.consent = "approve"

  provider.script("token", [echo(provider, "text/html", (said) => `<h1>Blocked</h1><pre>${said}</pre>`)])
  assert.strictEqual((yield* visit())["status"], "failed")
  provider.script("token", [echo(provider, "application/json", refusal("invalid_grant"))])
  assert.strictEqual(failure(yield* visit()), "code_rejected")
  provider.script("token", [echo(provider, "application/json", refusal("invalid_client"))])
  assert.strictEqual(failure(yield* visit()), "client_misconfigured")

  const completed = yield* visit((callback) => {
    callback.searchParams.set("state", Canary.makeText("state"))
    callback.searchParams.set("error_description", Canary.makeText("description"))
  })
  assert.strictEqual(completed["status"], "completed", JSON.stringify(completed))

  const ask = (body: unknown) => api.call("POST", `${connection}/token`, { body, secret: ["accessToken"] })
  const first = yield* ask({})
  assert.strictEqual(first.status, 200)
  const second = yield* ask({ rejectedToken: first.json["accessToken"] })
  assert.strictEqual(second.status, 200)
  assert.notStrictEqual(second.json["accessToken"], first.json["accessToken"])

  // What a consent brought may be refused at once; what a refusal brought may not.
  assert.strictEqual((yield* ask({ rejectedToken: second.json["accessToken"] })).json["code"], "access_token_refused")
  assert.strictEqual((yield* visit())["status"], "completed")
  const third = yield* ask({})
  provider.script("token", [echo(provider, "application/json", refusal("temporarily_unavailable"), 503)])
  assert.strictEqual((yield* ask({ rejectedToken: third.json["accessToken"] })).status, 503)
  provider.script("token", [echo(provider, "application/json", refusal("invalid_grant"))])
  assert.strictEqual((yield* ask({})).json["code"], "reauthorization_required")
  assert.strictEqual((yield* visit())["status"], "completed")

  const lost = Canary.makeText("misplaced")
  const malformed = [
    yield* api.call("PUT", connection, { body: { tokenEndpoint: provider.origin, acess_token: lost } }),
    yield* api.call("PUT", connection, { body: { tokenEndpoint: lost, refreshToken: { value: lost }, clientId: "c" } }),
    yield* api.call("POST", "/v1/flows", { body: { server: lost } }),
    yield* api.call("POST", "/v1/flows", { body: `{"server": "${lost}` }),
    yield* api.call("GET", "/v1/connections", { token: lost })
  ]
  for (const { status, text } of malformed) assert.include([400, 401], status, text)
  assert.strictEqual((yield* api.call("GET", connection)).status, 200)
  assert.strictEqual((yield* api.call("GET", "/v1/connections")).status, 200)

  provider.script("revocation", [echo(provider, "application/json", refusal("server_error"), 500, "revocation")])
  assert.strictEqual((yield* api.call("DELETE", connection)).status, 204)
  yield* provider.arrived("revocation")
  assert.strictEqual((yield* ask({})).status, 404)
})

const refusal = (error: string) => (said: string) => JSON.stringify({ error, error_description: said })

/** An error that says back what the request said, credentials of the client included. */
const echo = (
  provider: FakeProvider,
  type: string,
  wrap: (said: string) => string,
  status = 400,
  endpoint: "token" | "revocation" = "token"
): Reply.Reply =>
({ send }) =>
  Effect.suspend(() => {
    const request = provider.requests(endpoint).at(-1)
    const basic = String(request?.headers["authorization"] ?? "").replace(/^Basic /, "")
    const said = `${request?.body} ${Buffer.from(basic, "base64").toString()} ${basic}`
    return send({ status, headers: { "content-type": type, "x-debug": said }, body: wrap(said) })
  })
