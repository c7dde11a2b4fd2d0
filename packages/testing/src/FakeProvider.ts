import { Clock, Effect, FiberSet, Latch, Redacted, type Scope } from "effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as Canary from "./Canary.ts"
import type { Behaviour, Endpoint, Incoming } from "./internal/fakeBehaviour.ts"
import type { FakeClient } from "./internal/fakeClients.ts"
import type { Family } from "./internal/fakeGrants.ts"
import { FakeServer } from "./internal/fakeServer.ts"
import { listen } from "./LoopbackServer.ts"
import * as Reply from "./Reply.ts"

export type { Behaviour, Endpoint } from "./internal/fakeBehaviour.ts"
export type { FakeClient } from "./internal/fakeClients.ts"
export type { Family, Rotation } from "./internal/fakeGrants.ts"
export type { Quirk } from "./internal/fakeQuirks.ts"

/** Options of {@link make}: how it behaves, and where it stands. */
export interface Options extends Partial<Behaviour> {
  readonly port?: number
  /** Path of the issuer, such as `/tenant`; none by default. */
  readonly issuerPath?: string
  /** Clients besides the public `fake-client`, which accepts any redirect URI. */
  readonly clients?: ReadonlyArray<FakeClient>
  /** Another fake provider that issues the tokens for this one's resource. */
  readonly issuedBy?: FakeProvider
  /** Keeps every request in `log`, on which `requests` and `arrived` stand. Default true; false for long runs. */
  readonly keepLog?: boolean
}

/** One request as it arrived, secrets included: for assertions, not for printing. */
export interface LoggedRequest extends Incoming {
  readonly endpoint: Endpoint
  /** Headers in the order and spelling of the wire. */
  readonly rawHeaders: ReadonlyArray<string>
  /** Status that was sent; absent while the reply is outstanding, and for good when none was. */
  readonly status: number | undefined
}

/** Tokens of a consent that the test gives itself. */
export interface Granted {
  readonly accessToken: Redacted.Redacted
  readonly refreshToken: Redacted.Redacted
  readonly expiresIn: number
}

/** A scriptable authorization server with a protected resource beside it, on one origin. */
export interface FakeProvider {
  readonly origin: string
  readonly issuer: string
  /** URL of the protected resource; every path below it answers too. */
  readonly resource: string
  /** Changes how the honest server behaves from now on. */
  readonly behaviour: Behaviour
  readonly clients: Map<string, FakeClient>
  /** Plans the replies of the next requests at an endpoint, in the order of arrival; then it is honest again. */
  script(endpoint: Endpoint, replies: ReadonlyArray<Reply.Reply>): void
  /** Plans the reply of every request at an endpoint that has none in its script. */
  always(endpoint: Endpoint, reply: Reply.Reply): void
  /** Forgets the plans of one endpoint or of all. */
  heal(endpoint?: Endpoint): void
  /** Every request in the order of arrival. */
  readonly log: ReadonlyArray<LoggedRequest>
  /** Requests that arrived at an endpoint. */
  requests(endpoint: Endpoint): ReadonlyArray<LoggedRequest>
  /** Returns the nth request at an endpoint, counted from one, as soon as it arrived, answered or not. */
  arrived(endpoint: Endpoint, nth?: number): Effect.Effect<LoggedRequest>
  /** Token requests that arrived carrying this refresh token or code. */
  tokenCount(secret: string | Redacted.Redacted): number
  /** The highest count over every refresh token and code that ever arrived. */
  maxTokenCount(): number
  /** The most token requests that were open at the same time. */
  maxConcurrentTokenRequests(): number
  /** Tokens issued so far, by consent. */
  readonly families: ReadonlyArray<Family>
  /** Issues tokens without a flow, as if the person had consented earlier. */
  grant(
    input?: { readonly clientId?: string; readonly scopes?: ReadonlyArray<string>; readonly resource?: string }
  ): Granted
  /** Whether the access token would be accepted now. */
  isActive(accessToken: string | Redacted.Redacted): boolean
  /** Ends the life of every access token now; refresh tokens stay. */
  expireAccessTokens(): void
  /** The person withdraws every consent: no token is valid any more. */
  revokeAll(): void
  /** The person answers every pending device authorization. */
  answerDevices(answer: "approved" | "denied"): void
}

/** Starts a fake provider on 127.0.0.1 until the scope closes. Times come from the Clock it is made with. */
export const make = (options: Options = {}): Effect.Effect<FakeProvider, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const run = yield* FiberSet.makeRuntime()
    const log: Array<Entry> = []
    const scripts = new Map<Endpoint, Array<Reply.Reply>>()
    const standing = new Map<Endpoint, Reply.Reply>()
    const counts = new Map<string, number>()
    const waiters = new Set<Waiter>()
    let open = 0
    let mostOpen = 0
    let handler = (_: IncomingMessage, response: ServerResponse): void => void response.writeHead(503).end()

    const { origin } = yield* listen((request, response) => handler(request, response), options.port)
    const behaviour = behaviourOf(options)
    const server = new FakeServer(
      `${origin}${options.issuerPath ?? ""}`,
      `${origin}/api`,
      behaviour,
      () => clock.currentTimeMillisUnsafe()
    )
    server.clients.byId.set("fake-client", { clientId: "fake-client", secrets: [] })
    for (const client of options.clients ?? []) server.clients.byId.set(client.clientId, client)
    if (options.issuedBy !== undefined) {
      server.authorizationServers = [options.issuedBy.issuer]
      server.tokensOf = (servers.get(options.issuedBy) ?? server).grants
    }

    const arrive = (entry: Entry): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (options.keepLog !== false) log.push(entry)
        if (entry.endpoint === "token") {
          for (const name of ["refresh_token", "code"]) {
            for (const secret of entry.form.getAll(name)) counts.set(secret, (counts.get(secret) ?? 0) + 1)
          }
        }
        if (waiters.size === 0) return Effect.void
        const seen = log.filter(({ endpoint }) => endpoint === entry.endpoint)
        const ready = [...waiters].filter(({ endpoint, nth }) => endpoint === entry.endpoint && seen.length >= nth)
        for (const waiter of ready) waiters.delete(waiter)
        return Effect.forEach(ready, ({ latch }) => latch.open, { discard: true })
      })

    const serve = Effect.fnUntraced(function*(request: IncomingMessage, response: ServerResponse) {
      const incoming = yield* Effect.promise(() => read(request, origin))
      const endpoint = route(incoming, options.issuerPath ?? "")
      const entry: Entry = { ...incoming, endpoint, rawHeaders: request.rawHeaders, status: undefined }
      const reply = scripts.get(endpoint)?.shift() ?? standing.get(endpoint) ?? Reply.normal
      if (endpoint === "token") mostOpen = Math.max(mostOpen, ++open)
      response.once("close", () => {
        if (endpoint === "token") open--
        if (response.headersSent) entry.status = response.statusCode
      })
      yield* arrive(entry)
      let answer: Reply.Answer | undefined
      yield* reply({
        response,
        form: incoming.form,
        from: request.socket.remoteAddress ?? "",
        process: () => answer ??= server.answer(endpoint, incoming),
        send: ({ body, headers, status }) =>
          Effect.sync(() => {
            if (response.destroyed) return
            response.writeHead(status, headers).end(body)
          })
      })
    })
    handler = (request, response) =>
      void run(
        serve(request, response).pipe(
          Effect.catchDefect((defect) => Effect.sync(() => void response.writeHead(599).end(String(defect))))
        )
      )

    const provider: FakeProvider = {
      origin,
      issuer: server.issuer,
      resource: server.resource,
      behaviour,
      clients: server.clients.byId,
      log,
      families: server.grants.families,
      script: (endpoint, replies) => void scripts.set(endpoint, [...scripts.get(endpoint) ?? [], ...replies]),
      always: (endpoint, reply) => void standing.set(endpoint, reply),
      heal: (endpoint) => {
        for (const plans of [scripts, standing]) {
          if (endpoint === undefined) plans.clear()
          else plans.delete(endpoint)
        }
      },
      requests: (endpoint) => log.filter((entry) => entry.endpoint === endpoint),
      arrived: (endpoint, nth = 1) => {
        const find = () => log.filter((entry) => entry.endpoint === endpoint)[nth - 1]
        return Effect.suspend(() => {
          const entry = find()
          if (entry !== undefined) return Effect.succeed(entry)
          const waiter: Waiter = { endpoint, nth, latch: Latch.makeUnsafe() }
          waiters.add(waiter)
          return waiter.latch.await.pipe(
            Effect.ensuring(Effect.sync(() => waiters.delete(waiter))),
            Effect.flatMap(() => Effect.fromNullishOr(find())),
            Effect.orDie
          )
        })
      },
      tokenCount: (secret) => counts.get(plain(secret)) ?? 0,
      maxTokenCount: () => Math.max(0, ...counts.values()),
      maxConcurrentTokenRequests: () => mostOpen,
      grant: ({ clientId = "fake-client", resource = server.resource, scopes = behaviour.requiredScopes } = {}) => {
        const issued = server.open({ clientId, scopes, resource })
        return {
          accessToken: Redacted.make(issued.accessToken),
          refreshToken: Redacted.make(issued.refreshToken ?? Canary.makeText("refresh_token")),
          expiresIn: behaviour.accessTokenTtlSeconds
        }
      },
      isActive: (accessToken) => server.grants.active(plain(accessToken)) !== undefined,
      expireAccessTokens: () => {
        for (const row of server.grants.access.values()) row.expiresAt = 0
      },
      revokeAll: () => {
        for (const family of server.grants.families) family.revoked = true
      },
      answerDevices: (answer) => {
        for (const device of server.devices.byCode.values()) device.state = answer
      }
    }
    servers.set(provider, server)
    return provider
  })

type Entry = { -readonly [K in keyof LoggedRequest]: LoggedRequest[K] }

interface Waiter {
  readonly endpoint: Endpoint
  readonly nth: number
  readonly latch: Latch.Latch
}

// Lets one fake provider trust the tokens of another without the grants being public.
const servers = new WeakMap<FakeProvider, FakeServer>()

const plain = (secret: string | Redacted.Redacted): string =>
  typeof secret === "string" ? secret : Redacted.value(secret)

const behaviourOf = (options: Options): Behaviour => ({
  rotation: options.rotation ?? "rotate-refuse-old",
  accessTokenTtlSeconds: options.accessTokenTtlSeconds ?? 3600,
  refreshTokenIdleSeconds: options.refreshTokenIdleSeconds,
  refreshTokens: options.refreshTokens ?? true,
  requirePkce: options.requirePkce ?? true,
  iss: options.iss ?? "on",
  consent: options.consent ?? "approve",
  subject: options.subject ?? "alice",
  grantedScopes: options.grantedScopes,
  requiredScopes: options.requiredScopes ?? ["mcp:read"],
  registration: options.registration ?? true,
  clientIdDocuments: options.clientIdDocuments ?? true,
  quirks: options.quirks ?? []
})

const read = async (request: IncomingMessage, origin: string): Promise<Incoming> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks).toString()
  const encoded = request.headers["content-type"]?.startsWith("application/x-www-form-urlencoded") ?? false
  return {
    method: request.method ?? "",
    url: new URL(request.url ?? "/", origin),
    headers: request.headers,
    body,
    form: new URLSearchParams(encoded ? body : "")
  }
}

const paths: Readonly<Record<string, Endpoint>> = {
  "/authorize": "authorization",
  "/token": "token",
  "/revoke": "revocation",
  "/introspect": "introspection",
  "/register": "registration",
  "/par": "pushedAuthorization",
  "/device": "device"
}

const route = ({ url: { pathname } }: Incoming, issuerPath: string): Endpoint => {
  const wellKnown = "/.well-known"
  if (
    pathname === `${wellKnown}/oauth-protected-resource` || pathname === `${wellKnown}/oauth-protected-resource/api`
  ) {
    return "resourceMetadata"
  }
  const metadata = [
    `${wellKnown}/oauth-authorization-server${issuerPath}`,
    `${wellKnown}/openid-configuration${issuerPath}`,
    `${issuerPath}${wellKnown}/openid-configuration`
  ]
  if (metadata.includes(pathname)) return "serverMetadata"
  if (pathname === "/api" || pathname.startsWith("/api/")) return "resource"
  return (pathname.startsWith(issuerPath) ? paths[pathname.slice(issuerPath.length)] : undefined) ?? "elsewhere"
}
