import { assert, describe, it } from "@effect/vitest"
import { locate } from "@valetkey/client/Home"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as TcpProxy from "@valetkey/testing/TcpProxy"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Layer, Redacted } from "effect"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import * as Command from "../demo/Command.ts"
import * as Person from "../demo/Person.ts"
import * as Serving from "../demo/Serving.ts"
import * as Api from "./Api.ts"
import { freshKeys } from "./Installation.ts"
import { apiOf, Playground, settled } from "./Playground.ts"
import * as Refusal from "./Refusal.ts"
import * as Rows from "./Rows.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** The command `serve` with these variables ends at once and says why. */
const serveFails = (env: Command.Environment, code: string, exit = 1) =>
  Effect.map(Command.valetkey(["serve", "--json"], { env }), (finished) => Refusal.command(finished, { code, exit }))

/** Connects the playground's provider under a new name. */
const connect = Effect.gen(function*() {
  const { newName, person, provider, valetkey } = yield* Playground
  const name = newName()
  const [finished] = yield* Person.during(person, valetkey(["connect", provider.resource, "--name", name, "--json"]))
  assert.strictEqual(finished.code, 0, finished.stdout + finished.stderr)
  return name
})

/** A playground of one test. */
const inPlayground = <A, E, R>(more: Command.Environment, act: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.flatMap(Layer.build(Playground.layer(more)), (context) => Effect.provideContext(act, context)))

describe.concurrent("a bad installation", () => {
  it.live(
    "API-17 CRY-02 CRY-05 without the key or with a wrong one nothing is handed out, lost or half written",
    () =>
      inPlayground(
        {},
        Effect.gen(function*() {
          const { directory, env, home, provider, serving, valetkey } = yield* Playground
          const name = yield* connect
          yield* serving.stop
          const rightKey = readFileSync(home.keys, "utf8")
          const rows = Rows.count(home.database)
          const redemptions = provider.requests("token").length

          const expectEverywhere = Effect.fnUntraced(
            function*(restarted: Serving.Serving, code: string, status: number) {
              const api = apiOf(home, restarted)
              Refusal.api(yield* api.call("POST", `/v1/connections/${name}/token`, { body: {} }), { code, status })
              Refusal.command(yield* valetkey(["token", name, "--json"]), { code, exit: 1 })
              // What needs no secret goes on.
              assert.strictEqual((yield* api.call("GET", `/v1/connections/${name}`)).json["status"], "active")
              return api
            }
          )

          // The key file is gone: no other is made, and no flow begins.
          rmSync(home.keys)
          const keyless = yield* Serving.start(env)
          const api = yield* expectEverywhere(keyless, "encryption_key_missing", 503)
          Refusal.api(yield* api.call("POST", "/v1/flows", { body: { server: name, reauthorize: true } }), {
            code: "encryption_key_missing",
            status: 503
          })
          yield* keyless.stop
          assert.isFalse(existsSync(home.keys))

          // Another key, under another id and under the same.
          const [id = "1", right = ""] = rightKey.trim().split(":")
          const other = Redacted.value(freshKeys()).split(":")[1] ?? ""
          Canary.register("root_key", right)
          writeFileSync(home.keys, `${Number(id) + 1}:${other}\n`, { mode: 0o600 })
          const another = yield* Serving.start(env)
          yield* expectEverywhere(another, "encryption_key_unavailable", 503)
          yield* another.stop
          writeFileSync(home.keys, `${id}:${other}\n`, { mode: 0o600 })
          const wrong = yield* Serving.start(env)
          yield* expectEverywhere(wrong, "encryption_key_mismatch", 503)
          yield* wrong.stop
          assert.deepStrictEqual(Rows.count(home.database), rows)
          assert.strictEqual(provider.requests("token").length, redemptions)

          // With the right one everything is as it was.
          writeFileSync(home.keys, rightKey, { mode: 0o600 })
          yield* Serving.start(env)
          const finished = yield* valetkey(["token", name])
          assert.strictEqual(finished.code, 0, finished.stderr)
          assert.isTrue(provider.isActive(finished.stdout.trim()))
          assert.isTrue(existsSync(directory))
        })
      ),
    60_000
  )

  it.live(
    "DAEM-17 a locked data directory and a taken port end the second server, and the first goes on",
    () =>
      inPlayground(
        {},
        Effect.gen(function*() {
          const { api, directory, env, home, serving } = yield* Playground
          yield* serveFails(env, "store_locked")
          assert.isTrue(existsSync(home.socket))
          assert.strictEqual((yield* api.call("GET", "/v1/connections")).status, 200)

          const taken = new URL(String((serving.ready["listen"] as ReadonlyArray<string>).at(-1))).host
          const second = { ...env, VALETKEY_HOME: join(directory, "second"), VALETKEY_LISTEN: taken }
          yield* serveFails(second, "address_unavailable")
          // The port was found taken after the data was made; nothing of the server stays.
          assert.isFalse(existsSync(locate(second).socket))
          assert.isFalse(existsSync(locate(second).token))
          assert.strictEqual((yield* api.call("GET", "/livez")).status, 200)
        })
      ),
    40_000
  )

  it.live(
    "a callback port that was registered and is taken by now does not stop the person",
    () =>
      inPlayground(
        {},
        Effect.gen(function*() {
          const { api, provider } = yield* Playground
          const name = yield* connect
          const used = new URL(provider.requests("authorization").at(-1)?.url.searchParams.get("redirect_uri") ?? "")
          yield* Effect.acquireRelease(
            Effect.callback<ReturnType<typeof createServer>>((resume) => {
              const squatter = createServer((socket) => socket.destroy())
              // Somebody else on this machine may have it already: taken all the same.
              squatter.once("error", () => resume(Effect.succeed(squatter)))
              squatter.listen(Number(used.port), "127.0.0.1", () => resume(Effect.succeed(squatter)))
            }),
            (squatter) => Effect.callback<void>((resume) => void squatter.close(() => resume(Effect.void)))
          )
          const started = yield* api.call("POST", "/v1/flows", { body: { server: name, reauthorize: true } })
          const url = new URL(String(started.json["authorizationUrl"]))
          assert.notStrictEqual(new URL(url.searchParams.get("redirect_uri") ?? "").port, used.port)
          yield* UserAgent.make().authorize(url)
          const flow = yield* api.call("GET", `/v1/flows/${String(started.json["flowId"])}?wait=10`)
          assert.strictEqual(flow.json["status"], "completed")
        })
      ),
    40_000
  )

  it.live(
    "a flow that nobody answers in time ends the command with 5, and an answer after that changes nothing",
    () =>
      inPlayground(
        { VALETKEY_FLOW_TTL: "4s" },
        Effect.gen(function*() {
          const { api, home, newName, provider, valetkey } = yield* Playground
          const name = newName()
          let url = ""
          const finished = yield* valetkey(["connect", provider.resource, "--name", name, "--no-browser"], {
            onOutput: (_, text) => {
              url ||= /http\S+authorize\S+/.exec(text)?.[0] ?? ""
            }
          })
          assert.strictEqual(finished.code, 5, finished.stderr)
          assert.match(finished.stderr, /valetkey: Nobody gave consent in time; start again/)
          const started = yield* api.call("POST", "/v1/flows", { body: { server: name } })
          assert.strictEqual(started.status, 201)
          const flow = yield* api.call("GET", `/v1/flows/${String(started.json["flowId"])}?wait=10`)
          assert.strictEqual(flow.json["status"], "expired")
          // The listener may be gone, or say that it is too late.
          yield* Effect.match(UserAgent.make().authorize(url), {
            onSuccess: ({ body }) => assert.include(body, "Expired"),
            onFailure: ({ message }) => assert.match(message, /^No answer/)
          })
          yield* settled
          assert.deepStrictEqual(Rows.count(home.database), {
            connections: 0,
            openFlows: 0,
            flowsWithSecrets: 0,
            outbox: 0
          })
          assert.strictEqual(provider.requests("token").length, 0)
        })
      ),
    40_000
  )

  it.live("wrong settings are named one by one, never with their value", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make
      const canary = Canary.makeText("setting")
      for (const name of ["VALETKEY_LISTEN", "VALETKEY_FLOW_TTL", "VALETKEY_ALLOW_EGRESS", "DATABASE_URL"]) {
        const env = Command.environment(directory, { [name]: `nonsense ${canary}` })
        const finished = yield* Command.valetkey(["serve", "--json"], { env })
        Refusal.command(finished, { code: "setting_invalid", exit: 1 })
        assert.include(finished.stdout, name)
        assert.notInclude(finished.stdout + finished.stderr, canary)
      }
      assert.isFalse(existsSync(locate({ VALETKEY_HOME: directory }).database))
    }), 40_000)

  it.live(
    "DB-01 a database that is down is 503 with Retry-After, and nothing of the request is there when it is back",
    () =>
      Effect.gen(function*() {
        const directory = yield* TemporaryDirectory.make
        const database = yield* EmbeddedPostgres.database
        const url = new URL(Redacted.value(database.url))
        const proxy = yield* TcpProxy.make({ host: url.hostname, port: Number(url.port) })
        const provider = yield* FakeProvider.make()
        const port = yield* Api.freePort
        const secret = Canary.makeText("jwt_secret")
        const env = Command.environment(directory, {
          DATABASE_URL: proxy.through(Redacted.value(database.url)),
          VALETKEY_KEYS: Redacted.value(freshKeys()),
          VALETKEY_LISTEN: `127.0.0.1:${port}`,
          VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`,
          VALETKEY_ALLOW_EGRESS: new URL(provider.origin).host,
          VALETKEY_JWT_SECRET: secret,
          VALETKEY_JWT_ISSUER: "issuer",
          VALETKEY_JWT_AUDIENCE: "valetkey"
        })
        const caller = Api.jwt(secret, {
          iss: "issuer",
          aud: "valetkey",
          sub: "ada",
          tenant: "acme",
          scope: "flows:write connections:read connections:write tokens:read admin operator"
        })
        yield* Serving.start(env)
        const api = Api.make(`http://127.0.0.1:${port}`, caller)
        assert.strictEqual(
          (yield* api.call("PUT", "/v1/servers/mcp", { body: { resource: provider.resource } })).status,
          201
        )

        proxy.setMode("reset")
        const down = { code: "store_unavailable", status: 503 }
        const refused = [
          yield* api.call("POST", "/v1/flows", { body: { server: "mcp" } }),
          yield* api.call("POST", "/v1/connections/mcp/token", { body: {} }),
          yield* api.call("GET", "/v1/connections")
        ]
        for (const answer of refused) {
          Refusal.api(answer, down)
          assert.isNotNull(answer.headers.get("retry-after"))
        }
        assert.strictEqual((yield* api.call("GET", "/readyz")).status, 503)
        assert.strictEqual((yield* api.call("GET", "/livez")).status, 200)
        const remote = { env: Command.environment(directory, { VALETKEY_TOKEN: Redacted.value(caller) }) }
        Refusal.command(
          yield* Command.valetkey(["token", "mcp", "--json", "--server", `http://127.0.0.1:${port}`], remote),
          { code: "store_unavailable", exit: 1 }
        )

        proxy.setMode("forward")
        const started = yield* api.call("POST", "/v1/flows", { body: { server: "mcp" } })
        assert.strictEqual(started.status, 201, started.text)
        yield* UserAgent.make().authorize(String(started.json["connectUrl"]))
        assert.strictEqual((yield* api.call("POST", "/v1/connections/mcp/token", { body: {} })).status, 200)
        assert.strictEqual(provider.maxTokenCount(), 1)
      }),
    60_000
  )
})
