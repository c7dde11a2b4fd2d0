import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as Emitted from "@valetkey/testing/Emitted"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Redacted, type Scope } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { blank } from "../src/Exporter.ts"
import * as Replica from "./support/Replica.ts"

interface Export {
  readonly path: string
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

/** A collector that keeps what it is sent. */
const collector: Effect.Effect<
  { readonly url: string; readonly exports: ReadonlyArray<Export> },
  never,
  Scope.Scope
> = Effect.map(
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly exports: Array<Export>; close(): void }>((resume) => {
      const exports: Array<Export> = []
      const server = createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => body += String(chunk))
        request.on("end", () => {
          exports.push({ path: request.url ?? "", headers: request.headers, body })
          Emitted.record("otlp", body)
          response.setHeader("content-type", "application/json").end("{}")
        })
      }).listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, exports, close: () => void server.close() }))
      })
    }),
    (one) => Effect.sync(() => one.close())
  ),
  ({ exports, url }) => ({ url, exports })
)

const home: Effect.Effect<string, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vkt-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  ),
  (path) => join(path, "home")
)

/** The names and label sets of Prometheus text. */
const seriesOf = (text: string): ReadonlyArray<string> =>
  text.split("\n").filter((line) => line.startsWith("valetkey_")).map((line) => line.slice(0, line.lastIndexOf(" ")))

const textOf = (url: string) => Effect.promise(() => fetch(url).then((response) => response.text()))

describe("telemetry", () => {
  it.live(
    "LEAK-01 LEAK-02 LEAK-08 LEAK-11 I12 exports flows, refreshes and failures, and no secret of them",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const provider = yield* FakeProvider.make()
        const { exports, url } = yield* collector
        const directory = yield* home
        const port = yield* Replica.freePort
        const credential = Canary.makeText("collector_credential")
        const env = {
          VALETKEY_HOME: directory,
          VALETKEY_LISTEN: `127.0.0.1:${port}`,
          VALETKEY_PUBLIC_URL: `http://127.0.0.1:${port}`,
          VALETKEY_ADMIN_LISTEN: "127.0.0.1:0",
          VALETKEY_ALLOW_EGRESS: new URL(provider.origin).host,
          VALETKEY_LOG_LEVEL: "trace",
          OTEL_EXPORTER_OTLP_ENDPOINT: url,
          OTEL_EXPORTER_OTLP_HEADERS: `x-collector-key=${credential}`
        }
        const replica = yield* Replica.start(env)
        const token = readFileSync(join(directory, "run", "token"), "utf8").trim()
        Canary.register("boot_token", token)
        const answers: Array<string> = []
        const call = (method: string, path: string, body?: unknown) =>
          Effect.promise(async () => {
            const response = await fetch(`${replica.api}${path}`, {
              method,
              headers: {
                authorization: `Bearer ${token}`,
                "content-type": "application/json",
                cookie: `session=${Canary.makeText("cookie")}`,
                dpop: Canary.makeText("dpop"),
                referer: `https://caller.example/?code=${Canary.makeText("referer_code")}`
              },
              ...(body === undefined ? {} : { body: JSON.stringify(body) })
            })
            const text = await response.text()
            if (response.status >= 400) answers.push(text)
            return { status: response.status, body: text === "" ? {} : JSON.parse(text) }
          })
        yield* call("PUT", "/v1/servers/fake", { resource: provider.resource, scopes: ["read"] })
        const started = yield* call("POST", "/v1/flows", { server: "fake", transport: "gateway" })
        assert.strictEqual(started.status, 201, JSON.stringify(started.body))
        yield* UserAgent.make().authorize(String(started.body.connectUrl))
        yield* call("GET", `/v1/flows/${started.body.flowId}?wait=10`)
        for (let read = 0; read < 3; read++) {
          const answer = yield* call("POST", "/v1/connections/fake/token", {})
          assert.strictEqual(answer.status, 200, JSON.stringify(answer.body))
        }
        const { accessToken } = (yield* call("POST", "/v1/connections/fake/token", {})).body
        yield* call("POST", "/v1/connections/fake/token", { rejectedToken: accessToken })
        // A callback that matches nothing, an unknown place with secrets in its query, and a provider that echoes.
        const stray = new URLSearchParams({
          code: Canary.makeText("stray_code"),
          state: Canary.makeText("stray_state")
        })
        yield* textOf(`${replica.api}/callback/unknown?${stray}`)
        yield* call("GET", `/v1/nothing?token=${Canary.makeText("query_token")}&q=${Canary.makeText("query_other")}`)
        const refreshToken = Canary.makeText("deposited_refresh")
        const issuer = yield* Effect.promise(() =>
          fetch(`${provider.issuer}/.well-known/oauth-authorization-server`).then((response) => response.json())
        )
        provider.always(
          "token",
          Reply.json(400, { error: "invalid_request", error_description: `cannot take ${refreshToken}` })
        )
        yield* call("PUT", "/v1/servers/other", { resource: provider.resource, scopes: ["read"] })
        const deposited = yield* call("PUT", "/v1/connections/other", {
          tokenEndpoint: (issuer as { readonly token_endpoint: string }).token_endpoint,
          clientId: "fake-client",
          refreshToken
        })
        assert.strictEqual(deposited.status, 201, JSON.stringify(deposited.body))
        const refused = yield* call("POST", "/v1/connections/other/token", {})
        assert.isAtLeast(refused.status, 400)
        const metrics = yield* textOf(`${replica.ready.admin}/metrics`)
        const series = seriesOf(metrics)
        replica.signal("SIGTERM")
        const ended = yield* replica.ended
        assert.strictEqual(ended.code, 0, ended.stderr)

        const text = exports.map(({ body }) => body).join("\n")
        assert.sameMembers([...new Set(exports.map(({ path }) => path))], ["/v1/logs", "/v1/metrics", "/v1/traces"])
        assert.isTrue(exports.every(({ headers }) => headers["x-collector-key"] === credential))
        assert.isTrue(exports.every(({ headers }) => headers["traceparent"] === undefined))
        for (const name of ["Flows.start", "AccessTokens.refresh", "http.route"]) assert.include(text, name)
        for (const key of ["url.query", "url.full", "header.location", "header.referer", "header.dpop", "cookie"]) {
          assert.notInclude(text, key)
        }
        assert.notInclude(text, "/callback/unknown")
        for (const request of provider.log) {
          const names = request.rawHeaders.map((name) => name.toLowerCase())
          for (const name of ["traceparent", "tracestate", "b3", "baggage"]) assert.notInclude(names, name)
        }

        assert.includeMembers([...series], [
          "valetkey_flows_started_total{transport=\"gateway\"}",
          "valetkey_flows_settled_total{outcome=\"completed\"}",
          "valetkey_refreshes_total{outcome=\"ok\"}",
          "valetkey_token_reads_total{source=\"stored\"}",
          "valetkey_token_reads_total{source=\"refreshed\"}",
          "valetkey_lease_claims_total{outcome=\"claimed\"}",
          "valetkey_refresh_duration_seconds_count"
        ])
        assert.match(metrics, /valetkey_token_reads_total\{source="stored"\} 4\n/)
        for (const label of ["fake", "tenant", "subject", "local\"", "127.0.0.1"]) assert.notInclude(metrics, label)

        const scanner = CanaryScan.make()
        const findings = [
          ...scanner.bytes("otlp", text),
          ...scanner.bytes("metrics", metrics),
          ...scanner.bytes("log", ended.stderr),
          ...scanner.bytes("error bodies", answers.join("\n"))
        ]
        assert.strictEqual(CanaryScan.format(findings), "")
        assert.isAbove(answers.length, 1)
      })),
    { timeout: 60_000 }
  )

  it.live("is off, and serves no metrics on the listeners of browsers and programs, unless it is asked for", () =>
    Effect.scoped(Effect.gen(function*() {
      const replica = yield* Replica.start({ VALETKEY_HOME: yield* home, VALETKEY_LISTEN: "127.0.0.1:0" })
      assert.strictEqual((yield* replica.call("GET", "/metrics")).status, 404)
      const ended = yield* Replica.run({
        OTEL_EXPORTER_OTLP_ENDPOINT: "https://key:hunter2@collector.example"
      })
      assert.include(ended.stderr, "setting_invalid: OTEL_EXPORTER_OTLP_ENDPOINT")
      assert.notInclude(ended.stderr, "hunter2")
    })))

  it("LEAK-02 LEAK-04 blanks what a cause of somebody else carries into an export", () => {
    const secret = Redacted.value(Canary.make("cause"))
    const body = Buffer.from(JSON.stringify({
      attributes: [{ key: "code", value: { stringValue: secret } }, { key: "server", value: { stringValue: "notes" } }],
      exception: `Headers.append: "Bearer ${secret}" is an invalid header value; refresh_token=${secret}`
    }))
    const blanked = blank(body)
    assert.notInclude(blanked, secret)
    assert.include(blanked, "notes")
    assert.include(blanked, "is an invalid header value")
  })
})
