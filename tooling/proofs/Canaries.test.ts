import { assert, describe, it } from "@effect/vitest"
import { CheckpointHandler } from "@valetkey/domain/Checkpoint"
import * as Redaction from "@valetkey/http/Redaction"
import * as Serve from "@valetkey/server/Serve"
import * as Settings from "@valetkey/server/Settings"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { SpanRecorder } from "@valetkey/testing/SpanRecorder"
import { Effect, Layer, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Api from "./Api.ts"
import * as Evidence from "./Evidence.ts"
import { freshKeys } from "./Installation.ts"
import * as LeakyStory from "./LeakyStory.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

const scene = Effect.fnUntraced(function*(evidence: Evidence.Evidence) {
  const clientSecret = Canary.make("client_secret")
  const provider = yield* FakeProvider.make({
    clients: [{ clientId: "confidential", secrets: [Redacted.value(clientSecret)] }]
  })
  // A name like a secret: where it is found, a secret would have been found.
  const server = randomBytes(20).toString("hex")
  return { clientSecret, evidence, provider, server }
})

/** Keeps the spans and log lines of everything that ran. */
const recordTelemetry = Effect.fnUntraced(function*(evidence: Evidence.Evidence) {
  const spans = yield* (yield* SpanRecorder).spans
  evidence.record("spans", yield* (yield* SpanRecorder).text)
  evidence.record("logs", (yield* (yield* LogRecorder).lines).join("\n"))
  return spans.map(({ name }) => name)
})

const layerRecorders = Layer.mergeAll(SpanRecorder.layer, LogRecorder.layer, Redaction.layer)

/** Nothing secret is in the evidence, and what is no secret is found in each of these places. */
const check = (evidence: Evidence.Evidence, server: string, seen: ReadonlyArray<string>): void => {
  const kinds = new Set(Canary.all().map(({ kind }) => kind))
  for (const kind of ["access_token", "refresh_token", "code", "state", "code_verifier", "client_secret", "root_key"]) {
    assert.isTrue(kinds.has(kind), `no ${kind} was looked for`)
  }
  assert.strictEqual(CanaryScan.format(evidence.findings()), "")
  const planted = new Set(evidence.findings([{ kind: "planted", unique: server }]).map(({ source }) => source))
  assert.deepStrictEqual([...planted].sort(), [...seen].sort())
}

describe("one whole life of a connection", () => {
  it.live(
    "I11 I12 LEAK-01 LEAK-02 LEAK-04 LEAK-06 CRY-01 leaves no secret in the local profile",
    () =>
      Effect.gen(function*() {
        const evidence = Evidence.make()
        const home = yield* TemporaryDirectory.make
        const stage = yield* scene(evidence)
        const settings = yield* Settings.load({ VALETKEY_HOME: home, VALETKEY_LISTEN: "127.0.0.1:0" })
        if (settings.profile !== "local") return assert.fail(settings.profile)
        const secretFiles = [settings.home.keys, settings.home.token]

        const spans = yield* Effect.gen(function*() {
          const ready = yield* Serve.startLocal(settings)
          const token = Redacted.make(readFileSync(settings.home.token, "utf8").trim())
          Canary.register("boot_token", Redacted.value(token))
          Canary.register("root_key", /[A-Za-z0-9+/]{43}=/.exec(readFileSync(settings.home.keys, "utf8"))?.[0] ?? "")
          const api = Api.make(ready.listen.at(-1) ?? "", token, evidence)
          yield* LeakyStory.play({ ...stage, api })
          evidence.recordFiles("database while it is open", home, secretFiles)
          return yield* recordTelemetry(evidence)
        }).pipe(Effect.scoped, Effect.provide(layerRecorders))
        evidence.recordFiles("database", home, secretFiles)

        assert.includeMembers(spans, ["OAuth.exchange", "OAuth.refresh", "OAuth.revoke", "AccessTokens.refresh"])
        assert.isAbove(evidence.size()["logs"] ?? 0, 0)
        assert.isAbove(evidence.size()["html"] ?? 0, 0)
        check(evidence, stage.server, ["database", "database while it is open", "http", "spans"])
      }),
    30_000
  )

  it.live(
    "I11 I12 LEAK-01 LEAK-02 LEAK-04 LEAK-06 CRY-01 leaves no secret in the server profile and its PostgreSQL",
    () =>
      Effect.gen(function*() {
        const evidence = Evidence.make()
        const home = yield* TemporaryDirectory.make
        const stage = yield* scene(evidence)
        yield* Effect.gen(function*() {
          const database = yield* EmbeddedPostgres.make({
            onStopped: (dataDir) => Effect.sync(() => evidence.recordFiles("database", dataDir))
          })
          const port = yield* Api.freePort
          const jwtSecret = Canary.makeText("jwt_secret")
          const settings = yield* Settings.load({
            DATABASE_URL: Redacted.value(database.url),
            VALETKEY_HOME: home,
            VALETKEY_KEYS: Redacted.value(freshKeys()),
            VALETKEY_LISTEN: `127.0.0.1:${port}`,
            VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`,
            VALETKEY_ALLOW_EGRESS: new URL(stage.provider.origin).host,
            VALETKEY_JWT_SECRET: jwtSecret,
            VALETKEY_JWT_ISSUER: "issuer",
            VALETKEY_JWT_AUDIENCE: "valetkey"
          })
          if (settings.profile !== "server") return assert.fail(settings.profile)
          const token = Api.jwt(jwtSecret, {
            iss: "issuer",
            aud: "valetkey",
            sub: "ada",
            tenant: "acme",
            scope: "flows:write connections:read connections:write tokens:read admin operator"
          })
          Canary.register("caller_token", Redacted.value(token))

          yield* Effect.gen(function*() {
            yield* Serve.startServer(settings)
            yield* LeakyStory.play({ ...stage, api: Api.make(`http://127.0.0.1:${port}`, token, evidence) })
            yield* recordTelemetry(evidence)
          }).pipe(
            Effect.scoped,
            Effect.provide(layerRecorders),
            // What is spooled is overwritten when it is committed: this is the moment in which it is there.
            Effect.provideService(CheckpointHandler, (name) =>
              name === "refresh.before_commit"
                ? Effect.sync(() => evidence.recordFiles("spool", home))
                : Effect.void)
          )
        }).pipe(Effect.scoped)
        evidence.recordFiles("what is left of the spool", home)

        assert.isAbove(evidence.size()["logs"] ?? 0, 0)
        assert.isAbove(evidence.size()["html"] ?? 0, 0)
        check(evidence, stage.server, ["database", "http", "spans", "spool"])
      }),
    40_000
  )
})
