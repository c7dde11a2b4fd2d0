import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as LoopbackServer from "@valetkey/testing/LoopbackServer"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Deferred, Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { request } from "node:http"
import { fileURLToPath } from "node:url"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as Api from "./Api.ts"
import { freshKeys } from "./Installation.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

const example = (name: string): string => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url))

/** A server with a tenant of its own for the examples, and the provider of its users' accounts. */
const stage = Effect.gen(function*() {
  const directory = yield* TemporaryDirectory.make
  const database = yield* EmbeddedPostgres.database
  const provider = yield* FakeProvider.make()
  const [port, appPort] = [yield* Api.freePort, yield* Api.freePort]
  const origin = `http://127.0.0.1:${appPort}`
  const jwt = {
    VALETKEY_JWT_SECRET: Canary.makeText("jwt_secret"),
    VALETKEY_JWT_ISSUER: "issuer",
    VALETKEY_JWT_AUDIENCE: "valetkey"
  }
  yield* Serving.start(Command.environment(directory, {
    ...jwt,
    DATABASE_URL: Redacted.value(database.url),
    VALETKEY_KEYS: Redacted.value(freshKeys()),
    VALETKEY_LISTEN: `127.0.0.1:${port}`,
    VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`,
    VALETKEY_RETURN_URLS: `${origin}/connected`,
    VALETKEY_ALLOW_EGRESS: new URL(provider.origin).host
  }))
  const operator = Api.jwt(jwt.VALETKEY_JWT_SECRET, {
    iss: "issuer",
    aud: "valetkey",
    sub: "operator",
    tenant: "web-app",
    scope: "admin"
  })
  const described = yield* Api.make(`http://127.0.0.1:${port}`, operator).call("PUT", "/v1/servers/notes", {
    body: { resource: provider.resource }
  })
  assert.strictEqual(described.status, 201)
  return { jwt, origin, port, provider }
})

/** The web application, running. */
const application = Effect.gen(function*() {
  const { jwt, origin, port, provider } = yield* stage
  yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const app = spawn(process.execPath, [example("web-app.ts")], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { PATH: process.env["PATH"], ...jwt, VALETKEY_SERVER: `http://127.0.0.1:${port}`, APP_ORIGIN: origin }
      })
      await once(app.stdout, "data")
      return app
    }),
    (app) =>
      Effect.promise(async () => {
        const ended = once(app, "exit")
        app.kill()
        await ended
      })
  )
  return { origin, provider }
})

/** Sends a form as a browser does: with the origin of the page that has it. */
const submit = (
  person: UserAgent.UserAgent,
  url: string,
  fields: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = { origin: new URL(url).origin, "sec-fetch-site": "same-origin" }
) => person.request(url, { method: "POST", headers, body: new URLSearchParams(fields) })

const signIn = Effect.fnUntraced(function*(person: UserAgent.UserAgent, origin: string, user: string) {
  const landed = yield* submit(person, `${origin}/login`, { user })
  assert.deepStrictEqual([landed.status, landed.headers.get("location")], [303, "/"])
  assert.include((yield* person.request(`${origin}/`)).body, `Signed in as ${user}`)
})

/** Begins to connect as whoever is signed in, up to the provider's page. */
const begin = Effect.fnUntraced(function*(person: UserAgent.UserAgent, origin: string) {
  const page = yield* submit(person, `${origin}/connect`)
  assert.strictEqual(page.status, 303)
  return page.headers.get("location") ?? ""
})

describe("the example web application", () => {
  it.live(
    "BIND-04 connects its signed-in user, and refuses the one who was led into somebody else's flow",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { origin, provider } = yield* application
        const [ada, mallory] = [UserAgent.make({ login: "ada" }), UserAgent.make({ login: "mallory" })]
        yield* signIn(ada, origin, "ada")
        const connected = yield* ada.authorize(yield* begin(ada, origin))
        assert.deepStrictEqual([connected.status, connected.body], [200, "ada is connected"])
        assert.strictEqual(provider.requests("token").length, 1)

        // Mallory begins, and has Ada open the provider's page.
        yield* signIn(mallory, origin, "mallory")
        const led = yield* ada.authorize(yield* begin(mallory, origin))
        assert.deepStrictEqual([led.status, led.body], [403, "Not connected: flow_not_found"])
        assert.strictEqual(provider.requests("token").length, 1)

        provider.behaviour.consent = { error: "access_denied" }
        const denied = yield* mallory.authorize(yield* begin(mallory, origin))
        assert.deepStrictEqual([denied.status, denied.body], [400, "Not connected: access_denied"])
      })),
    60_000
  )

  it.live(
    "BIND-04 signs nobody in and begins no flow by a link or a form of somebody else",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { origin, provider } = yield* application
        const ada = UserAgent.make({ login: "ada" })
        const elsewhere = { origin: "https://mallory.example", "sec-fetch-site": "cross-site" }
        /** Sends Ada there, and on as far as it goes by itself. */
        const lead = (path: string) => Effect.result(ada.authorize(`${origin}${path}`))
        const forms = Effect.forEach([
          elsewhere,
          { "sec-fetch-site": "cross-site" },
          { origin: "null" },
          { origin, "sec-fetch-site": "same-site" }
        ], (headers) =>
          Effect.gen(function*() {
            for (const path of ["/login", "/connect"]) {
              const page = yield* submit(ada, `${origin}${path}`, { user: "mallory" }, headers)
              assert.deepStrictEqual([page.status, page.headers.getSetCookie()], [403, []], path)
            }
          }))

        yield* lead("/login?user=mallory")
        yield* forms
        assert.notInclude((yield* ada.request(`${origin}/`)).body, "Signed in")

        yield* signIn(ada, origin, "ada")
        for (const path of ["/login?user=mallory", "/connect"]) yield* lead(path)
        yield* forms
        assert.include((yield* ada.request(`${origin}/`)).body, "Signed in as ada")
        assert.strictEqual(provider.requests("authorization").length, 0)
      })),
    60_000
  )
})

describe("the example with Effect", () => {
  it.live(
    "waits for a person who is slower than one answer, and then has a token",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { jwt, port } = yield* stage
        const asked = yield* Deferred.make<void>()
        let questions = 0
        const proxy = yield* LoopbackServer.listen((incoming, outgoing) => {
          const isQuestion = incoming.url?.includes("wait=") === true
          if (isQuestion && ++questions === 2) Deferred.doneUnsafe(asked, Effect.void)
          // The first question ends at once, as it does after half a minute.
          const path = isQuestion && questions === 1 ? incoming.url?.replace(/wait=\d+/, "wait=0") : incoming.url
          const { headers, method } = incoming
          incoming.pipe(
            request({ host: "127.0.0.1", port, method, path, headers }, (answer) => {
              outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
              answer.pipe(outgoing)
            }).on("error", () => outgoing.destroy())
          )
        })
        const token = Api.jwt(jwt.VALETKEY_JWT_SECRET, {
          iss: jwt.VALETKEY_JWT_ISSUER,
          aud: jwt.VALETKEY_JWT_AUDIENCE,
          sub: "ada",
          tenant: "web-app",
          scope: "flows:write connections:read tokens:read"
        })
        const program = yield* Effect.acquireRelease(
          Effect.sync(() => {
            const child = spawn(process.execPath, [example("with-effect.ts"), "notes"], {
              stdio: ["ignore", "pipe", "pipe"],
              env: { PATH: process.env["PATH"], VALETKEY_SERVER: proxy.origin, VALETKEY_TOKEN: Redacted.value(token) }
            })
            const text = { stdout: "", stderr: "" }
            child.stdout.on("data", (chunk) => text.stdout += String(chunk))
            child.stderr.on("data", (chunk) => text.stderr += String(chunk))
            return { child, text, ended: once(child, "close") }
          }),
          ({ child, ended }) => Effect.promise(() => (child.kill(), ended))
        )
        yield* Effect.raceFirst(Deferred.await(asked), Effect.promise(() => program.ended))
        const url = /^Open (\S+)$/m.exec(program.text.stderr)?.[1] ?? ""
        assert.notStrictEqual(url, "", program.text.stderr)
        yield* UserAgent.make({ login: "ada" }).authorize(url)
        const [code] = yield* Effect.promise(() => program.ended)
        assert.strictEqual(code, 0, program.text.stderr)
        assert.match(program.text.stdout, /^(no end|\d{4}-\d{2}-\d{2}T.+)\n$/)
      })),
    60_000
  )
})
