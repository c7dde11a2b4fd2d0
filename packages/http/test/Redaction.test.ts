import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import { Consoles } from "@valetkey/domain/Consoles"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as Canary from "@valetkey/testing/Canary"
import { LogRecorder } from "@valetkey/testing/LogRecorder"
import { SpanRecorder } from "@valetkey/testing/SpanRecorder"
import { Effect, Layer, Option, Redacted } from "effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Redaction from "../src/Redaction.ts"
import * as Routes from "../src/Routes.ts"
import { deposit, jwt, sign } from "./Caller.ts"
import { answerPath } from "./Consent.ts"
import { layerWorld } from "./Harness.ts"
import { publicOrigin, Script } from "./Script.ts"

/** The server on a real port, every header recorded, so that only redaction stands between a secret and a span. */
const server = HttpRouter.serve(Layer.mergeAll(Routes.layerApi(), Routes.layerPublic({ origin: publicOrigin }))).pipe(
  Layer.provide([JwtAuthenticator.layerSecret(jwt), Readiness.layerAlways]),
  Layer.provideMerge(layerWorld()),
  Layer.provideMerge(NodeHttpServer.layerTest),
  Layer.provideMerge(Layer.succeed(HttpMiddleware.TracerHeaderFilter)(() => true)),
  Layer.provideMerge(Redaction.layer),
  Layer.provideMerge(Layer.mergeAll(SpanRecorder.layer, LogRecorder.layer))
)

describe("Redaction", () => {
  it.live("I12 keeps codes, states, tickets, tokens, locations and credentials out of spans and the access log", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const token = yield* Effect.promise(() => sign())
      Canary.register("jwt", token)
      const send = (request: HttpClientRequest.HttpClientRequest) =>
        Effect.flatMap(client.execute(HttpClientRequest.bearerToken(request, token)), (response) => response.text)
      const post = (path: string, body: unknown) =>
        send(HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(path), body))
      const started = JSON.parse(yield* post("/v1/flows", { server: "notes" }))
      const { connectPath, stateOf } = yield* Script
      const ticket = connectPath.split("/").at(-1)!
      const untraced = Effect.provideService(HttpClient.TracerDisabledWhen, () => true)
      const shown = yield* untraced(client.execute(HttpClientRequest.get(connectPath)))
      const [, formToken = ""] = /name="token" value="([^"]+)"/.exec(yield* shown.text) ?? []
      const cookie = /^[^;]+/.exec(shown.headers["set-cookie"] ?? "")?.[0] ?? ""
      const binding = cookie.split("=")[1]!
      const browse = (request: HttpClientRequest.HttpClientRequest) =>
        Effect.flatMap(
          untraced(client.execute(HttpClientRequest.setHeaders(request, { cookie, origin: publicOrigin }))),
          (response) => response.text
        )
      const form = HttpClientRequest.post(connectPath, { body: HttpBody.urlParams([["token", formToken]]) })
      assert.include(yield* browse(form), stateOf)
      const callback = new URL(yield* answerPath, "http://localhost")
      const code = callback.searchParams.get("code")!
      yield* browse(HttpClientRequest.get(callback.pathname + callback.search))
      yield* send(HttpClientRequest.get(`/v1/flows/${started.flowId}?wait=10`))
      const handedOut = JSON.parse(yield* post("/v1/connections/notes/token", {}))
      const body = deposit({ accessToken: Canary.makeText("access") })
      yield* send(HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.put("/v1/connections/other"), body))
      yield* send(HttpClientRequest.get(`/v1/nothing?access_token=${handedOut.accessToken}&state=${code}`))
      const { pathname: consolePath } = new URL(String(JSON.parse(yield* post("/v1/console", undefined)).consoleUrl))
      const invitation = yield* untraced(client.execute(HttpClientRequest.get(consolePath)))
      const [, signInToken = ""] = /name="token" value="([^"]+)"/.exec(yield* invitation.text) ?? []
      yield* untraced(client.execute(HttpClientRequest.setHeaders(
        HttpClientRequest.post(consolePath, { body: HttpBody.urlParams([["token", signInToken]]) }),
        { cookie: /^[^;]+/.exec(invitation.headers["set-cookie"] ?? "")?.[0] ?? "", origin: publicOrigin }
      )))
      const consoles = yield* Consoles
      const { ticket: second } = yield* consoles.link({
        tenant: TenantId.make("acme"),
        subject: SubjectId.make("ada"),
        scopes: ["connections:read"]
      })
      const session = Redacted.value(Option.getOrThrow(yield* consoles.enter(second)).secret)
      const sessionCookie = { cookie: `__Host-valetkey_console=${session}` }
      yield* untraced(
        client.execute(HttpClientRequest.setHeaders(HttpClientRequest.get("/connections"), sessionCookie))
      )
      // As a proxy may spell it, or whoever wants to see it in a trace.
      const spellings = [connectPath, consolePath].flatMap((path) => [`/${path}`, path.replace("/c", "/%63")])
      for (const path of spellings) {
        yield* untraced(client.execute(HttpClientRequest.get(path)))
      }
      const recorded = [yield* (yield* SpanRecorder).text, ...(yield* (yield* LogRecorder).lines)].join("\n")
      for (
        const secret of [
          code,
          stateOf,
          ticket,
          binding,
          formToken,
          consolePath.split("/").at(-1)!,
          signInToken,
          session,
          token,
          handedOut.accessToken,
          body.refreshToken
        ]
      ) assert.isFalse(recorded.includes(secret), secret.slice(0, 24))
      const spans = yield* (yield* SpanRecorder).spans
      const servers = spans.map(({ attributes }) => String(attributes["http.route"] ?? ""))
      assert.isTrue(servers.some((path) => path.includes("/v1/flows")), "the API is traced")
      assert.isFalse(
        spans.some(({ attributes, name }) =>
          name.startsWith("http.server") && /^\/(callback|connect|console|done)/.test(String(attributes["http.route"]))
        ),
        "what a browser visits is not"
      )
    }).pipe(Effect.provide(server)))
})
