import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as ReverseProxy from "@valetkey/testing/ReverseProxy"
import { Effect, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as Api from "./Api.ts"
import * as Refusal from "./Refusal.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** Servers of an installation of their own on a fresh database, and who may race there: no more than these two scopes. */
const installation = Effect.fnUntraced(function*(replicas: number, secret: string, allowEgress: string) {
  const database = yield* EmbeddedPostgres.database
  const key = randomBytes(32).toString("base64")
  Canary.register("root_key", key)
  const home = yield* TemporaryDirectory.make
  const [iss, aud] = ["https://id.example", "valetkey"]
  const server = Effect.map(
    Serving.start(Command.environment(home, {
      DATABASE_URL: Redacted.value(database.url),
      VALETKEY_KEYS: `1:${key}`,
      VALETKEY_INSTANCE_ID: "race",
      VALETKEY_JWT_SECRET: secret,
      VALETKEY_JWT_ISSUER: iss,
      VALETKEY_JWT_AUDIENCE: aud,
      VALETKEY_PUBLIC_URL: "http://127.0.0.1:9",
      VALETKEY_LISTEN: "127.0.0.1:0",
      VALETKEY_PUBLIC_LISTEN: "127.0.0.1:0",
      VALETKEY_ALLOW_EGRESS: allowEgress
    })),
    ({ ready }) => String((ready["listen"] as ReadonlyArray<string>).at(-1))
  )
  const urls = yield* Effect.all(Array.from({ length: replicas }, () => server), { concurrency: 2 })
  const caller = Api.jwt(secret, { iss, aud, sub: "ops", tenant: "acme", scope: "connections:write tokens:read" })
  return { urls, env: Command.environment(home, { VALETKEY_TOKEN: Redacted.value(caller) }) }
})

describe("valetkey doctor --race over replicas", () => {
  it.live(
    "I1 sees one redemption for callers of two servers on one Postgres, and tells which setting is missing",
    () =>
      Effect.gen(function*() {
        const port = yield* Api.freePort
        const secret = randomBytes(48).toString("base64url")
        Canary.register("jwt_secret", secret)
        const { env, urls: servers } = yield* installation(2, secret, `127.0.0.1:${port}`)
        const doors = yield* Effect.forEach(
          servers,
          (url) => ReverseProxy.make({ targets: [Number(new URL(url).port)] })
        )
        const urls = doors.map(({ origin }) => origin)
        const race = (...flags: ReadonlyArray<string>) =>
          Command.valetkey(["doctor", "--race", "--json", ...urls.flatMap((url) => ["--url", url]), ...flags], { env })
        const small = ["--connections", "2", "--callers", "20", "--rounds", "2"]

        const raced = yield* race(...small, "--listen", `127.0.0.1:${port}`)
        assert.strictEqual(raced.code, 0, raced.stdout)
        const { calls, callsByServer, left, redemptions } = JSON.parse(raced.stdout) as Record<string, unknown>
        const expected = {
          calls: 80,
          callsByServer: [40, 40],
          left: [],
          redemptions: { expected: 4, seen: 4, needless: 0, reused: 0 }
        }
        assert.deepStrictEqual({ calls, callsByServer, left, redemptions }, expected)
        for (const { answered } of doors) assert.isAtLeast(answered()[0]!, 40)

        const barred = yield* race(...small)
        Refusal.command(barred, { code: "simulator_unreachable", exit: 1 })
        assert.notInclude(barred.stderr, "Could not be removed")
        const stranger = yield* installation(1, secret, `127.0.0.1:${port}`)
        urls.splice(1, 1, ...stranger.urls)
        const strange = yield* race(...small, "--listen", `127.0.0.1:${port}`)
        Refusal.command(strange, { code: "connection_not_found", exit: 1 })
        assert.include(strange.stdout, "replicas of one installation")
      })
  )
})
