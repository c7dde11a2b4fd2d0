import { ApiProblem } from "@valetkey/api/ApiProblem"
import { ConnectionsApi } from "@valetkey/api/ConnectionsApi"
import { FlowsApi } from "@valetkey/api/FlowsApi"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ApiScope, CurrentPrincipal, Principal } from "@valetkey/api/Principal"
import { ServersApi } from "@valetkey/api/ServersApi"
import { classOf, CurrentOrigin } from "@valetkey/domain/AuditOrigin"
import { Consoles } from "@valetkey/domain/Consoles"
import type { ConsoleSession } from "@valetkey/domain/ConsoleSession"
import { Digest, Entropy } from "@valetkey/domain/Entropy"
import { ServerSlug } from "@valetkey/domain/Server"
import { Tenants } from "@valetkey/domain/Tenants"
import { Context, DateTime, Effect, Option, Redacted, Schema } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as BrowserCookie from "./BrowserCookie.ts"
import * as ConnectPage from "./ConnectPage.ts"
import * as ConsoleCookie from "./ConsoleCookie.ts"
import * as ConsolePage from "./ConsolePage.ts"
import * as Guard from "./Guard.ts"
import * as Forms from "./internal/forms.ts"
import * as Languages from "./Languages.ts"
import * as Operations from "./Operations.ts"
import * as Page from "./Page.ts"

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

/** How this listener is known to browsers: both are parts of the public URL. */
export interface ConsoleOptions {
  /** Without one no form is taken, so nobody is let in. */
  readonly origin?: string | undefined
  readonly basePath: string
  /** How the answers of providers come back. Default `gateway`. */
  readonly transport?: "gateway" | "loopback" | undefined
}

/** A request within a session. */
interface Visit {
  readonly request: Request
  readonly frame: ConsolePage.Frame
  readonly session: ConsoleSession
  readonly secret: Redacted.Redacted
  /** Calls an operation of the contract as the session's principal, under the policy of its endpoint. */
  readonly call: <A>(
    endpoint: Pick<HttpApiEndpoint.Top, "annotations">,
    operation: Effect.Effect<A, ApiProblem, CurrentPrincipal>
  ) => Effect.Effect<A, ApiProblem>
}

const eventsPerPage = 20

/**
 * Layer of the pages where a person sees their own connections. A link lets one browser in; from then on each page is a
 * caller of the contract with the scopes of whoever asked for the link. Looking changes nothing; forms come from these pages
 * and from this session, or are refused.
 */
export const layer = ({ basePath, origin, transport = "gateway" }: ConsoleOptions) =>
  HttpRouter.use(Effect.fnUntraced(function*(router) {
    const consoles = yield* Consoles
    const entropy = yield* Entropy
    const tenants = yield* Tenants
    const operations = yield* Operations.make
    const languages = yield* Languages.Languages

    /** The link: looking at it shows who will be let in as whom, its form lets the browser in. */
    const enter = Effect.fnUntraced(function*(request: Request, frame: ConsolePage.Frame) {
      const ticket = ticketOf((yield* HttpRouter.params)["ticket"])
      if (ticket === undefined) return ConsolePage.sentence(frame, "gone")
      if (request.method === "POST" && !Forms.comesFromHere(request.headers, origin)) {
        return ConsolePage.sentence(frame, "refused")
      }
      // Before the body: nobody keeps a request open without a ticket.
      const found = yield* consoles.invitation(ticket)
      if (Option.isNone(found)) return ConsolePage.sentence(frame, "gone")
      if (found.value.taken) return ConsolePage.sentence(frame, "taken")
      const receipt = entropy.digest(ticket)
      const held = BrowserCookie.secretsOf(request)(receipt)
      const tokenOf = (secret: Redacted.Redacted) => Forms.tokenOf("sign-in", secret, Redacted.value(ticket))
      if (request.method === "GET") {
        const secret = held ?? (yield* entropy.secret)
        const { session } = found.value
        const maxAge = DateTime.distance(session.createdAt, session.expiresAt)
        const page = ConsolePage.invitation(frame, found.value, tokenOf(secret))
        return BrowserCookie.keep(page, request, { receipt, secret, maxAge })
      }
      if (held === undefined && BrowserCookie.keepsNone(request)) return ConsolePage.noCookie(frame)
      if (held === undefined || !(yield* Forms.holdsToken(request, tokenOf(held)))) {
        return ConsolePage.sentence(frame, "refused")
      }
      const entered = yield* consoles.enter(ticket)
      if (Option.isNone(entered)) return ConsolePage.sentence(frame, "taken")
      const former = ConsoleCookie.secretOf(request)
      if (former !== undefined) {
        // The ticket is spent: the secret that it gave reaches the browser whatever becomes of the session before.
        yield* Effect.catch(
          consoles.leave(former),
          (error) => Effect.logWarning("former session of the console not ended", error)
        )
      }
      const { secret, session } = entered.value
      return ConsoleCookie.keep(BrowserCookie.forget(goTo(`${basePath}/connections`), receipt), secret, session)
    })

    /** A page of a session: nothing is shown, and nothing is done, without one. A form names the page that it came from. */
    const within = (page: (visit: Visit) => Effect.Effect<Response, ApiProblem, HttpRouter.RouteContext>) =>
      Effect.fnUntraced(function*(request: Request, frame: ConsolePage.Frame) {
        const secret = ConsoleCookie.secretOf(request)
        const session = secret === undefined ? Option.none() : yield* consoles.session(secret)
        if (secret === undefined || Option.isNone(session)) return ConsolePage.sentence(frame, "signedOut")
        if (
          request.method === "POST" && !(Forms.comesFromHere(request.headers, origin) &&
            (yield* Forms.holdsToken(request, tokenFor(secret, pathOf(request)))))
        ) {
          return ConsolePage.sentence(frame, "refused")
        }
        const principal = principalOf(session.value)
        const call: Visit["call"] = ({ annotations }, operation) =>
          Effect.andThen(
            Guard.permit(tenants, Context.getOrUndefined(annotations, EndpointPolicy), principal),
            Effect.provideService(operation, CurrentPrincipal, principal)
          )
        return yield* page({ request, frame, session: session.value, secret, call }).pipe(
          Effect.catchTag("ApiProblem", (problem) => Effect.succeed(ConsolePage.problem(frame, problem))),
          Effect.provideService(CurrentOrigin, {
            principal: "console",
            from: classOf(Option.getOrUndefined(request.remoteAddress))
          })
        )
      })

    const list = within(Effect.fnUntraced(function*(visit) {
      const { call, frame, request, secret } = visit
      if (request.method === "POST") {
        yield* Effect.orDie(consoles.leave(secret))
        return ConsoleCookie.forget(ConsolePage.sentence(frame, "signedOutDone"))
      }
      const query = queryOf(request)
      const [after, past] = ["after", "past"].map((name) => Option.getOrUndefined(decodeSlug(query.get(name))))
      const connected = yield* call(ConnectionsApi.endpoints.list, operations.connections({ after }))
      const unconnected = yield* call(ServersApi.endpoints.list, operations.unconnected({ after: past }))
      return ConsolePage.connections(signed(visit), {
        connections: connected.connections,
        servers: unconnected.servers,
        after,
        next: connected.next,
        past,
        nextPast: unconnected.next
      })
    }))

    const one = within(Effect.fnUntraced(function*({ request, ...visit }) {
      const server = yield* slug
      const before = Option.getOrUndefined(decodeDigest(queryOf(request).get("before")))
      const history = yield* visit.call(
        ConnectionsApi.endpoints.history,
        operations.history(server, { before, limit: eventsPerPage })
      )
      const connection = yield* lookUp(visit, server)
      if (connection === undefined && history.events.length === 0) return yield* notFound
      return ConsolePage.connection(signed({ request, ...visit }), server, { connection, history })
    }))

    const connect = within(Effect.fnUntraced(function*(visit) {
      const { call, frame, request } = visit
      const server = yield* slug
      if (request.method === "GET") {
        const connection = yield* lookUp(visit, server)
        return ConsolePage.askConnect(
          signed(visit),
          server,
          connection !== undefined && connection.status !== "revoking"
        )
      }
      // Whoever presses the button again has left the attempt before.
      const started = yield* call(
        FlowsApi.endpoints.start,
        operations.start(
          { server, transport, reauthorize: true, onConflict: "supersede" },
          `${origin}${basePath}/connections`
        )
      )
      switch (started._tag) {
        case "Offered":
          return ConsolePage.started(frame, started.connectUrl, started.compareCode)
        case "Started":
          // The listener that waits for the answer is on the machine of this browser.
          return ConnectPage.departure(frame.texts, started.flow, started.authorizationUrl)
        case "AlreadyConnected":
        case "Joined":
        case "Verifying":
          return goTo(`${basePath}/connections/${server}`)
      }
    }))

    const disconnect = within(Effect.fnUntraced(function*(visit) {
      const { call, request } = visit
      const server = yield* slug
      if (request.method === "GET") {
        yield* call(ConnectionsApi.endpoints.get, operations.connection(server))
        return ConsolePage.askDisconnect(signed(visit), server)
      }
      yield* call(ConnectionsApi.endpoints.disconnect, operations.disconnect(server))
      return goTo(`${basePath}/connections/${server}`)
    }))

    /** The connection as it is; undefined when there is none. */
    const lookUp = ({ call }: Pick<Visit, "call">, server: ServerSlug) =>
      call(ConnectionsApi.endpoints.get, operations.connection(server)).pipe(
        Effect.catchIf(({ code }) => code === "connection_not_found", () => Effect.undefined)
      )

    const signed = ({ frame, request, secret, session }: Omit<Visit, "call">): ConsolePage.Signed => ({
      ...frame,
      session,
      token: tokenFor(secret, pathOf(request))
    })

    const routes = [
      ["/console/:ticket", enter],
      ["/connections", list],
      ["/connections/:server", one],
      ["/connections/:server/connect", connect],
      ["/connections/:server/disconnect", disconnect]
    ] as const
    for (const [path, answer] of routes) {
      yield* router.add("*", path, (request) => {
        const frame = { basePath, texts: Languages.of(request, languages) }
        const refused = Forms.refusal(request)
        return (refused === undefined ? answer(request, frame) : Effect.succeed(refused)).pipe(
          Effect.catchCause((cause) =>
            Effect.as(Effect.logError("console failed", cause), ConsolePage.sentence(frame, "notNow"))
          ),
          // An access log would hold the ticket, which stands in the path.
          HttpMiddleware.withLoggerDisabled
        )
      })
    }
  }))

const notFound = ApiProblem.of("connection_not_found", "There is no such connection, and nothing is on record of one")

/** The server that a path names. */
const slug = Effect.flatMap(
  HttpRouter.params,
  (params) =>
    Option.match(decodeSlug(params["server"]), { onNone: () => Effect.fail(notFound), onSome: Effect.succeed })
)

const decodeSlug = Schema.decodeUnknownOption(ServerSlug)
const decodeDigest = Schema.decodeUnknownOption(Digest)
const isScope = Schema.is(ApiScope)

const principalOf = ({ scopes, subject, tenant }: ConsoleSession): Principal =>
  new Principal({ kind: "console", tenant, subject, scopes: scopes.filter(isScope) })

/** Bound to the session and to the page, so that the form of one page does nothing on another. */
const tokenFor = (secret: Redacted.Redacted, path: string): string => Forms.tokenOf("console", secret, path)

const urlOf = ({ url }: Request): URL => new URL(url, "http://localhost")
const pathOf = (request: Request): string => urlOf(request).pathname
const queryOf = (request: Request): URLSearchParams => urlOf(request).searchParams

const goTo = (location: string): Response =>
  HttpServerResponse.empty({ status: 303, headers: { ...Page.headers, location } })

const ticketOf = (text: string | undefined): Redacted.Redacted | undefined =>
  text !== undefined && /^[\w-]{43}$/.test(text) ? Redacted.make(text) : undefined
