import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ApiKeys } from "@valetkey/domain/ApiKeys"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import { Audit } from "@valetkey/domain/Audit"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { AuthorizationServer, type DiscoveryError, type RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { type CallbackTransport, CallbackTransports } from "@valetkey/domain/CallbackTransport"
import { ClientDocuments } from "@valetkey/domain/ClientDocuments"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Consoles } from "@valetkey/domain/Consoles"
import type { Credentials } from "@valetkey/domain/Credentials"
import { Exports } from "@valetkey/domain/Exports"
import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Histories } from "@valetkey/domain/Histories"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Instance } from "@valetkey/domain/Instance"
import { KeyRotation } from "@valetkey/domain/KeyRotation"
import { ResourceProxy } from "@valetkey/domain/ResourceProxy"
import { Revocations } from "@valetkey/domain/Revocations"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { ServerStore } from "@valetkey/domain/ServerStore"
import { TenantId } from "@valetkey/domain/Tenant"
import { Tenants } from "@valetkey/domain/Tenants"
import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as AgeArchiveSealer from "@valetkey/keyring/AgeArchiveSealer"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeyRingFingerprints from "@valetkey/keyring/KeyRingFingerprints"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import * as ResourceRequests from "@valetkey/oauth/ResourceRequests"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Canary from "@valetkey/testing/Canary"
import { Context, DateTime, Duration, Effect, Layer, Redacted } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { SignJWT } from "jose/jwt/sign"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import * as ApiKeyAuthenticator from "../src/ApiKeyAuthenticator.ts"
import * as JwtAuthenticator from "../src/JwtAuthenticator.ts"
import { PublicAddress } from "../src/PublicAddress.ts"
import { Readiness } from "../src/Readiness.ts"
import * as Routes from "../src/Routes.ts"

export const jwt = {
  secret: Redacted.make(randomBytes(32).toString("base64url")),
  issuer: "https://issuer.example",
  audience: "valetkey"
}

export const allScopes =
  "flows:write connections:read connections:write connections:export tokens:read proxy admin operator"

/** Signs a token for tests; any claim can be replaced, `undefined` leaves it out. */
export const sign = (claims: Readonly<Record<string, unknown>> = {}, secret = jwt.secret): Promise<string> =>
  new SignJWT(JSON.parse(JSON.stringify({
    sub: "ada",
    tenant: "acme",
    scope: allScopes,
    iss: jwt.issuer,
    aud: jwt.audience,
    exp: Math.floor(Date.now() / 1000) + 600,
    ...claims
  }))).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(Redacted.value(secret)))

/** What the scripted authorization server does, and every call that reached it or a store. */
export class Script extends Context.Service<Script, {
  readonly calls: Array<string>
  discovery: DiscoveryError | undefined
  exchange: (n: number) => Effect.Effect<Credentials, RedemptionError>
  refresh: (n: number) => Effect.Effect<Credentials, RedemptionError>
  obtain: Effect.Effect<Credentials, RedemptionError>
  stateOf: string
  /** Context of the callback of the flow that was started last. */
  contextOf: string
  /** Path of the connect page of the flow that was started last; empty when it has none. */
  connectPath: string
}>()("test/Script") {
  static readonly layer = Layer.sync(Script, () => ({
    calls: [],
    discovery: undefined,
    exchange: issue,
    refresh: issue,
    obtain: Effect.suspend(() => issue(0)),
    stateOf: "",
    contextOf: "",
    connectPath: ""
  }))
}

/** Fresh credentials of one hour. */
export const issue = Effect.fnUntraced(function*(_: number) {
  const issuedAt = yield* DateTime.now
  return {
    accessToken: Canary.make("access"),
    refreshToken: Canary.make("refresh"),
    tokenType: "Bearer",
    scopes: ["notes.read"],
    issuedAt,
    expiresAt: DateTime.add(issuedAt, { hours: 1 })
  }
})

const layerAuthorizationServer = Layer.effect(
  AuthorizationServer,
  Effect.map(Script, (script) => {
    const count = (name: string) => {
      script.calls.push(`server.${name}`)
      return script.calls.filter((call) => call === `server.${name}`).length
    }
    return AuthorizationServer.of({
      discover: (server) =>
        Effect.suspend(() => {
          count("discover")
          return script.discovery === undefined
            ? Effect.succeed({
              issuer: "https://as.example",
              authorizationEndpoint: "https://as.example/authorize",
              tokenEndpoint: "https://as.example/token",
              revocationEndpoint: "https://as.example/revoke",
              registrationEndpoint: "https://as.example/register",
              deviceAuthorizationEndpoint: "https://as.example/device_authorization",
              issRequired: false,
              authMethods: ["none"],
              scopes: ["notes.read"],
              resource: server.resource
            })
            : Effect.fail(script.discovery)
        }),
      register: () => Effect.sync(() => (count("register"), { clientId: "client-1", authMethod: "none" as const })),
      push: ({ authorizationUrl }) => Effect.succeed(authorizationUrl),
      verifyResponse: () => Effect.die("no response of these tests is signed"),
      authorizationUrl: (request) =>
        Effect.sync(() => {
          script.stateOf = Redacted.value(request.state)
          Canary.register("state", script.stateOf)
          const url = new URL(request.authorizationEndpoint)
          url.searchParams.set("state", script.stateOf)
          url.searchParams.set("redirect_uri", request.redirectUri)
          return Redacted.make(url.href)
        }),
      exchange: () => Effect.suspend(() => script.exchange(count("exchange"))),
      authorizeDevice: () =>
        Effect.sync(() => {
          count("authorizeDevice")
          return {
            deviceCode: Canary.make("device_code"),
            userCode: Redacted.make("WDJB-MJHT"),
            verificationUri: "https://as.example/device",
            verificationUriComplete: Redacted.make("https://as.example/device?user_code=WDJB-MJHT"),
            expiresIn: Duration.minutes(5),
            interval: Duration.seconds(5)
          }
        }),
      poll: () => Effect.sync(() => (count("poll"), { _tag: "Pending" as const })),
      refresh: () => Effect.suspend(() => script.refresh(count("refresh"))),
      obtain: () => Effect.suspend(() => (count("obtain"), script.obtain)),
      expiryOf: () => Effect.undefined,
      revoke: () => Effect.sync(() => (count("revoke"), "confirmed" as const))
    })
  })
)

/** A store port that notes every call. */
const noted = <Id, S extends object>(key: Context.Key<Id, S>, name: string) =>
  Layer.effect(
    key,
    Effect.map(Effect.all([key, Script]), ([port, script]) =>
      new Proxy(port, {
        get: (target, property, receiver) => {
          const member = Reflect.get(target, property, receiver)
          if (typeof member !== "function") return member
          return (...input: ReadonlyArray<unknown>) => {
            script.calls.push(`${name}.${String(property)}`)
            return Reflect.apply(member, target, input)
          }
        }
      }))
  )

/** How browsers know the server of these tests. */
export const publicOrigin = "https://valetkey.example"

/** Where the embedding application of these tests waits for its users. */
export const returnTo = "https://app.example/connected"

const transports = Effect.map(Script, (script) => {
  const redirectTo = (context: string) => {
    script.connectPath = ""
    script.contextOf = context
    return `${publicOrigin}/callback/${context}`
  }
  const gateway: CallbackTransport = {
    kind: "gateway",
    open: ({ context }) =>
      Effect.sync(() => ({
        redirectUri: redirectTo(context),
        connectUrl: (ticket) => {
          script.connectPath = `/connect/${Redacted.value(ticket)}`
          return Redacted.make(`${publicOrigin}${script.connectPath}`)
        }
      }))
  }
  const loopback: CallbackTransport = {
    kind: "loopback",
    open: ({ context }) => Effect.sync(() => ({ redirectUri: redirectTo(context) }))
  }
  return { gateway, loopback }
})

const notes = new Server({
  tenant: TenantId.make("acme"),
  slug: ServerSlug.make("notes"),
  resource: "https://notes.example/mcp",
  quirks: {}
})

const layerServer = Layer.effectDiscard(Effect.flatMap(ServerStore, (store) => store.put(notes)))

/** What a test may put in place of a part of the world. */
export interface WorldOptions {
  /** Undefined takes fresh keys, null is a server without any. */
  readonly keys?: Redacted.Redacted | null
  readonly flowStore?: Layer.Layer<FlowStore, never, FlowStore | Script>
  /** Default the store in memory. */
  readonly store?: typeof MemoryStore.layer
}

/** Everything below the HTTP layers, for real but for the network. */
export const layerWorld = (
  { flowStore = noted(FlowStore, "FlowStore"), keys, store = MemoryStore.layer }: WorldOptions = {}
) =>
  Layer.mergeAll(
    Layer.provideMerge(Housekeeping.layer, Flows.layer({ returnUrls: [returnTo] })),
    AccessTokens.layer(),
    ApiKeys.layer,
    ClientDocuments.layer,
    Connections.layer,
    Histories.layer,
    Consoles.layer,
    Layer.succeed(PublicAddress, Effect.succeed(new URL(publicOrigin))),
    Exports.layer.pipe(Layer.provide(AgeArchiveSealer.layer)),
    Revocations.layer,
    Servers.layer,
    KeyRotation.layer(),
    Tenants.layer(),
    Instance.layer({ id: "test" }),
    layerServer
  ).pipe(
    (useCases) =>
      Layer.provideMerge(
        ResourceProxy.layer({ perConnection: 4, perServer: 6 }).pipe(
          Layer.provideMerge(ResourceRequests.layer()),
          Layer.provide(Egress.layer({ policy: AddressPolicy.local() }))
        ),
        useCases
      ),
    Layer.provideMerge(Layer.mergeAll(AuditTrail.layer(), Audit.layer)),
    Layer.provideMerge(Layer.mergeAll(
      noted(ApiKeyStore, "ApiKeyStore"),
      noted(ConnectionStore, "ConnectionStore"),
      flowStore,
      noted(ServerStore, "ServerStore"),
      layerAuthorizationServer,
      CallbackTransports.layer([
        Effect.map(transports, ({ gateway }) => gateway),
        Effect.map(transports, ({ loopback }) => loopback)
      ]),
      layerKeys(KeySource.fromText(keys === null ? undefined : keys ?? freshKeys()))
    )),
    Layer.provideMerge(Layer.mergeAll(store, NodeEntropy.layer, Script.layer))
  )

const layerKeys = (source: KeySource.KeySource) =>
  Layer.merge(
    KeyRingCipher.layerRegistered({ instanceId: "test", source }),
    KeyRingFingerprints.layer({ instanceId: "test", source })
  )

export function freshKeys(): Redacted.Redacted {
  return Redacted.make(`1:${randomBytes(32).toString("base64")}`)
}

/** Answers requests as the listeners would. */
export class Http extends Context.Service<Http, {
  request(request: Request): Effect.Effect<Response>
  /** What the person's browser holds: it goes along with whatever a browser visits. */
  readonly cookies: Map<string, string>
}>()("test/Http") {}

const routed = <E, R>(routes: Layer.Layer<never, E, R>) =>
  Effect.provideService(HttpRouter.toHttpEffect(routes), HttpRouter.RouterConfig, Routes.routerConfig)

/** Layer of `Http` over any routes. */
export const layerHttp = <E, R>(routes: Layer.Layer<never, E, R>) =>
  Layer.effect(
    Http,
    Effect.map(routed(routes), (handler) => ({
      cookies: new Map<string, string>(),
      request: (request: Request) =>
        handler.pipe(
          Effect.map((response) => HttpServerResponse.toWeb(response)),
          Effect.provideService(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
          Effect.scoped,
          Effect.orDie
        ) as Effect.Effect<Response>
    }))
  ).pipe(Layer.provide(HttpServer.layerServices))

/** The whole server on one port, for callers with a JWT. */
export const layer = (options: WorldOptions = {}) =>
  layerHttp(Layer.mergeAll(Routes.layerApi(), Routes.layerPublic({ origin: publicOrigin }))).pipe(
    Layer.provide(Readiness.layerAlways),
    Layer.provideMerge(ApiKeyAuthenticator.layer(JwtAuthenticator.layerSecret(jwt))),
    Layer.provideMerge(layerWorld(options))
  )

/** An answer with its body read. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: { readonly [name: string]: unknown }
}

/** Sends a request. A body that is no string is sent as JSON. */
export const send = Effect.fnUntraced(function*(
  method: string,
  path: string,
  options: {
    readonly token?: string | undefined
    readonly body?: unknown
    readonly headers?: Readonly<Record<string, string>>
  } = {}
) {
  const { cookies, request } = yield* Http
  const visited = /^\/(callback|connect|connections|console|done)(?:[/?]|$)/.test(path)
  const body = options.body === undefined || typeof options.body === "string"
    ? options.body
    : JSON.stringify(options.body)
  const response = yield* request(
    new Request(`http://127.0.0.1:8414${path}`, {
      method,
      headers: {
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(visited ? { cookie: [...cookies].map((pair) => pair.join("=")).join("; ") } : {}),
        ...options.headers
      },
      ...(body === undefined ? {} : { body })
    })
  )
  const text = yield* Effect.promise(() => response.text())
  for (const line of response.headers.getSetCookie()) {
    const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/max-age=0(;|$)/i.test(line)) cookies.delete(name)
    else cookies.set(name, value)
  }
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: /json/.test(response.headers.get("content-type") ?? "") ? JSON.parse(text) : {}
  } as Answer
})

/** A caller with a token of these claims. */
export const caller = Effect.fnUntraced(function*(claims: Readonly<Record<string, unknown>> = {}) {
  const token = yield* Effect.promise(() => sign(claims))
  return {
    token,
    get: (path: string) => send("GET", path, { token }),
    post: (path: string, body?: unknown) => send("POST", path, { token, body }),
    put: (path: string, body?: unknown) => send("PUT", path, { token, body }),
    delete: (path: string) => send("DELETE", path, { token })
  }
})

/** Sends the form of a connect page as the browser does that was shown it. */
export const leave = Effect.fnUntraced(function*(page: Answer, path: string) {
  const token = /name="token" value="([\w-]+)"/.exec(page.text)?.[1] ?? ""
  return yield* send("POST", path, {
    body: `token=${token}`,
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      origin: publicOrigin,
      "sec-fetch-site": "same-origin"
    }
  })
})

/** The address that the provider sends a browser to for the flow that was started last, whichever browser that is. */
export const answerPath = Effect.map(
  Script,
  ({ contextOf, stateOf }) => `/callback/${contextOf}?state=${stateOf}&code=${Canary.makeText("code")}`
)

/** The same, after the person's browser was bound on the connect page. */
export const callbackPath = Effect.gen(function*() {
  const { connectPath } = yield* Script
  if (connectPath !== "") yield* leave(yield* send("GET", connectPath), connectPath)
  return yield* answerPath
})

/** A caller of the API. */
export type Caller = Effect.Success<ReturnType<typeof caller>>

/** Starts a flow, lets the person consent, and waits until it is settled. */
export const connect = Effect.fnUntraced(function*(ada: Caller, choice: Readonly<Record<string, unknown>> = {}) {
  const started = yield* ada.post("/v1/flows", { server: "notes", ...choice })
  const answered = yield* send("GET", yield* callbackPath)
  const flowId = String(started.json["flowId"])
  return {
    flowId,
    done: answered.headers.get("location")!,
    settled: yield* ada.get(`/v1/flows/${flowId}?wait=30`)
  }
})

/** A body that deposits credentials. */
/** A private key that tokens can be bound to. */
export const proofKey = (): string => {
  const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
  Canary.register("proof_key", jwk.d!)
  return JSON.stringify(jwk)
}

export const deposit = (over: Readonly<Record<string, unknown>> = {}) => ({
  tokenEndpoint: "https://as.example/token",
  clientId: "client-2",
  refreshToken: Canary.makeText("refresh"),
  ...over
})
