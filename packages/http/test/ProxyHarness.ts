import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Canary from "@valetkey/testing/Canary"
import * as LoopbackServer from "@valetkey/testing/LoopbackServer"
import { Context, Effect, Layer, type Scope } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as ApiKeyAuthenticator from "../src/ApiKeyAuthenticator.ts"
import * as HotToken from "../src/HotToken.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"
import { deposit, jwt, sign } from "./Caller.ts"
import { layerWorld } from "./Harness.ts"

/** A request as a resource saw it. */
export interface Arrived {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A resource of the tests on 127.0.0.1. */
export interface Upstream {
  readonly origin: string
  readonly arrived: Array<Arrived>
}

type Answer = (request: Arrived, response: ServerResponse) => void
type Take = (request: IncomingMessage, response: ServerResponse) => void

/** Opens a resource that answers whole requests, or takes them as they come. */
export const upstream = (
  options: { readonly answer?: Answer; readonly take?: Take }
): Effect.Effect<Upstream, never, Scope.Scope> =>
  Effect.gen(function*() {
    const arrived: Array<Arrived> = []
    const { answer = (_, response) => void response.end("fine"), take } = options
    const { origin } = yield* LoopbackServer.listen((request, response) => {
      response.on("error", () => undefined)
      request.on("error", () => undefined)
      if (take !== undefined) return take(request, response)
      const pieces: Array<Buffer> = []
      request.on("data", (piece: Buffer) => pieces.push(piece))
      request.on("end", () => {
        const { headers, method = "", url = "" } = request
        const whole = { method, url, headers, body: Buffer.concat(pieces).toString() }
        arrived.push(whole)
        answer(whole, response)
      })
    })
    return { origin, arrived }
  })

/** The port of the server under test. */
export class Listening extends Context.Service<Listening, { readonly port: number }>()("test/Listening") {}

/** The whole server behind a socket, with the short way to tokens, over one world. */
export const layer = Layer.effect(
  Listening,
  Effect.gen(function*() {
    const server = createServer()
    HotToken.attach(server, yield* HotToken.make())
    yield* Layer.build(
      HttpRouter.serve(Routes.layerApi(), { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provide(Layer.succeed(HttpRouter.RouterConfig, Routes.routerConfig)),
        Layer.provide(
          NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0, disablePreemptiveShutdown: true })
        )
      )
    )
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    return { port: (server.address() as AddressInfo).port }
  })
).pipe(
  Layer.provide([ApiKeyAuthenticator.layer(JwtAuthenticator.layerSecret(jwt)), Readiness.layerAlways]),
  Layer.provideMerge(layerWorld())
)

/** An answer, whole, with everything that came. */
export interface Got {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  readonly json: { readonly [name: string]: unknown }
}

/** What a caller may choose of a request. */
export interface Wish {
  readonly method?: string
  /** Sent as it is written. */
  readonly path: string
  readonly token: string
  readonly headers?: Readonly<Record<string, string | ReadonlyArray<string>>>
  readonly body?: string | Buffer
  /** Leaves the length out. */
  readonly chunked?: boolean
  /** Never ends the body. */
  readonly unended?: boolean
}

/** Sends a request and gives its answer when the head is there. */
export const open = Effect.fnUntraced(
  function*({ body, chunked, headers, method = "GET", path, token, unended }: Wish) {
    const { port } = yield* Listening
    return yield* Effect.callback<IncomingMessage, Error>((resume) => {
      const sent = request({
        host: "127.0.0.1",
        port,
        method,
        path,
        agent: false,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined || chunked === true ? {} : { "content-length": String(Buffer.byteLength(body)) }),
          ...headers
        } as Record<string, string>
      })
      sent.on("response", (response) => {
        response.on("error", () => undefined)
        resume(Effect.succeed(response))
      })
      sent.on("error", (error) => resume(Effect.fail(error)))
      if ((chunked === true || unended === true) && body !== undefined) sent.write(body)
      if (unended !== true) sent.end(chunked === true ? undefined : body)
      return Effect.sync(() => sent.destroy())
    })
  }
)

/** Reads what is left of an answer. */
const whole = (response: IncomingMessage): Effect.Effect<Got> =>
  Effect.promise(async () => {
    const pieces: Array<Buffer> = []
    for await (const piece of response) pieces.push(piece as Buffer)
    const text = Buffer.concat(pieces).toString()
    const json = /json/.test(response.headers["content-type"] ?? "") ? JSON.parse(text) : {}
    return { status: response.statusCode ?? 0, headers: response.headers, text, json }
  })

/** Sends a request and reads the answer. */
export const ask = (wish: Wish) => Effect.orDie(Effect.flatMap(open(wish), whole))

const sendJson = (token: string, method: string, path: string, body: unknown) =>
  ask({ token, method, path, body: JSON.stringify(body), headers: { "content-type": "application/json" } })

/** Describes a server and deposits credentials for it; gives the access token. */
export const connectTo = Effect.fnUntraced(function*(
  token: string,
  server: string,
  resource: string,
  description: Readonly<Record<string, unknown>> = {}
) {
  const put = yield* sendJson(token, "PUT", `/v1/servers/${server}`, { resource, ...description })
  if (put.status > 201) return yield* Effect.die(new Error(put.text))
  const accessToken = Canary.makeText("access")
  const deposited = yield* sendJson(
    token,
    "PUT",
    `/v1/connections/${server}`,
    deposit({
      accessToken,
      scopes: ["notes.read"],
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
      replace: true
    })
  )
  if (deposited.status > 201) return yield* Effect.die(new Error(deposited.text))
  return accessToken
})

/** A caller that may do everything, or what its scopes say. */
export const caller = (claims: Readonly<Record<string, unknown>> = {}) => Effect.promise(() => sign(claims))

/** Sends JSON to the contract. */
export const post = (token: string, path: string, body: unknown) => sendJson(token, "POST", path, body)
/** Replaces something of the contract. */
export const put = (token: string, path: string, body: unknown) => sendJson(token, "PUT", path, body)
