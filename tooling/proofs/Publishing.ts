import { assert } from "@effect/vitest"
import { CallbackReceived } from "@valetkey/domain/Authorization"
import { ClientDocuments } from "@valetkey/domain/ClientDocuments"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { Flows } from "@valetkey/domain/Flows"
import * as ClientMetadataRoute from "@valetkey/http/ClientMetadataRoute"
import * as Routes from "@valetkey/http/Routes"
import * as LoopbackServer from "@valetkey/testing/LoopbackServer"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Layer, Option, Redacted, Result } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as Installation from "./Installation.ts"

/** What this installation publishes, on a port where the provider of these tests can fetch it, and who did. */
export const publishing = Effect.gen(function*() {
  const { dispose, handler } = HttpRouter.toWebHandler(
    ClientMetadataRoute.layer({ origin: Installation.publicUrl.origin, basePath: "" }).pipe(
      Layer.provide(Layer.succeed(ClientDocuments, yield* ClientDocuments))
    ),
    { disableLogger: true, routerConfig: Routes.routerConfig }
  )
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  const fetched: Array<string> = []
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    fetched.push(request.url ?? "")
    // A host that somebody else chose must not find its way into a document.
    const answered = await handler(new Request(new URL(request.url ?? "", "https://evil.example")))
    response.writeHead(answered.status, Object.fromEntries(answered.headers)).end(await answered.text())
  }
  const { origin } = yield* LoopbackServer.listen((request, response) => void answer(request, response))
  return { fetched, origin }
})

/**
 * Consents over the gateway as a person does, at a provider that reads published documents: `published` is told the client
 * id before the provider is asked.
 */
export const consent = Effect.fnUntraced(function*(
  key: ConnectionKey,
  published: (clientId: string) => void,
  options: Parameters<Flows["Service"]["start"]>[1] = { transport: "gateway" }
) {
  const flows = yield* Flows
  const started = yield* flows.start(key, options)
  if (started._tag !== "Offered") return assert.fail(started._tag)
  const ticket = Redacted.make(Redacted.value(started.connectUrl).split("/").at(-1)!)
  const browser = Redacted.make("a browser's secret")
  const { authorizationUrl } = Option.getOrThrow(yield* flows.depart(ticket, browser))
  const asked = new URL(Redacted.value(authorizationUrl)).searchParams
  const clientId = asked.get("client_id")!
  const redirectUri = asked.get("redirect_uri")!
  published(clientId)
  const callback = yield* UserAgent.make().callbackUrl(Redacted.value(authorizationUrl), redirectUri)
  const received = Result.getOrThrow(CallbackReceived.parse(callback.searchParams))
  const context = callback.pathname.split("/").at(-1)!
  const { settled } = yield* flows.complete(received, { context, browser: () => browser })
  assert.strictEqual((yield* settled).state, "completed")
  return { clientId, redirectUri }
})
