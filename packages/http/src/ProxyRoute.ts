import { ApiProblem } from "@valetkey/api/ApiProblem"
import { CurrentPrincipal, type Principal } from "@valetkey/api/Principal"
import { proxyMethods, proxyPolicy, proxyPrefix } from "@valetkey/api/ProxyApi"
import { type Proxied, ResourceProxy } from "@valetkey/domain/ResourceProxy"
import type { ServerSlug } from "@valetkey/domain/Server"
import { Tenants } from "@valetkey/domain/Tenants"
import { Effect, type Layer, Record, Redacted, Stream } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Authenticator } from "./Authenticator.ts"
import { admit, as } from "./Guard.ts"
import { keyOf } from "./internal/callerKey.ts"
import { locationOf, requestHeaders, responseHeaders } from "./internal/proxyHeaders.ts"
import { bodyOf } from "./internal/requestBody.ts"
import { makeTokenFilter } from "./internal/tokenFilter.ts"
import { bounded } from "./ProblemBoundary.ts"
import { render } from "./ProblemResponse.ts"
import { refusal } from "./TokensHandlers.ts"

/**
 * Layer of `/v1/proxy/{server}/{path}`: the caller's request below the resource of the server, with the token of the
 * caller's connection. It stands beside the contract, whose endpoints have one method and a body that is decoded, under
 * the same authentication, policy and problems.
 *
 * @see RFC 9110 §7.6
 */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | Authenticator | ResourceProxy | Tenants> =
  HttpRouter.use(
    Effect.fnUntraced(function*(router) {
      const authenticator = yield* Authenticator
      const proxy = yield* ResourceProxy
      const tenants = yield* Tenants

      const pass = Effect.fnUntraced(function*(
        request: HttpServerRequest.HttpServerRequest,
        { path, query, server }: Target,
        credential: string
      ) {
        const principal = yield* CurrentPrincipal
        const key = yield* keyOf(server)
        const proxied = yield* proxy.send(key, {
          method: request.method,
          path,
          query,
          headers: (custody) =>
            requestHeaders(request.headers, { credential, whole: custody === "proxied" || !mayHold(principal) }),
          body: bodyOf(request)
        }).pipe(Effect.catch((error) => error instanceof ApiProblem ? Effect.fail(error) : refusal(error, server)))
        return yield* answer(proxied, { prefix: `${proxyPrefix}${server}`, hidden: !mayHold(principal) })
      })

      yield* router.add("*", `${proxyPrefix}*`, (request) =>
        bounded(Effect.gen(function*() {
          const credential = credentialOf(request)
          const principal = yield* admit(authenticator, tenants, proxyPolicy, Redacted.make(credential))
          if (!isPassed(request)) return refused
          const target = targetOf(request.url)
          if (target === undefined) return yield* misdirected
          if (target.query.includes(credential)) return yield* misplaced
          return yield* as(principal, pass(request, target, credential))
        })))
    })
  )

/** The token is its caller's to have: an answer that repeats it tells nothing new. */
const mayHold = ({ scopes }: Principal): boolean => scopes.includes("tokens:read")

interface Target {
  readonly server: ServerSlug
  readonly path: string
  readonly query: string
}

/** The parts of a request target as they were written. */
const targetOf = (url: string): Target | undefined => {
  const [, server, path = "", query = ""] =
    /^\/v1\/proxy\/([a-z0-9][a-z0-9._-]{0,62})(\/[^?#]*)?(?:\?([^#]*))?$/.exec(url) ?? []
  return server === undefined ? undefined : { server: server as ServerSlug, path, query }
}

const credentialOf = ({ headers: { authorization = "" } }: HttpServerRequest.HttpServerRequest): string =>
  /^bearer +(\S+)$/i.exec(authorization)?.[1] ?? ""

/** An upgrade of plain HTTP is an offer that need not be taken (RFC 9113 §3.1); every other one is a wish for another protocol. */
const isPassed = ({ headers, method }: HttpServerRequest.HttpServerRequest): boolean =>
  (proxyMethods as ReadonlyArray<string>).includes(method) &&
  (headers["upgrade"] === undefined || headers["upgrade"].toLowerCase() === "h2c")

const refused = HttpServerResponse.setHeader(
  render(
    ApiProblem.of("method_refused", "The proxy passes plain requests on; no TRACE, no CONNECT and no other protocol")
  ),
  "allow",
  proxyMethods.join(", ")
)

const misdirected = ApiProblem.of(
  "path_refused",
  "The path must be /v1/proxy/, the name of a server, and a path below it"
)

const misplaced = ApiProblem.of(
  "query_refused",
  "The query repeats the credential; send that as Authorization: Bearer alone"
)

/** The answer of the resource as its caller may see it. */
const answer = Effect.fnUntraced(function*(
  { custody, resource, response, token, url }: Proxied,
  { hidden, prefix }: { readonly prefix: string; readonly hidden: boolean }
) {
  const filter = custody === "proxied" || hidden ? makeTokenFilter(Redacted.value(token.accessToken)) : undefined
  const encoding = response.headers["content-encoding"] ?? "identity"
  if (response.status > 599 || (filter !== undefined && !/^identity$/i.test(encoding))) return yield* unusable
  const location = locationOf(response.headers["location"], { prefix, resource, url })
  const { "content-length": length, "content-type": contentType, ...headers }: Record<string, string | undefined> = {
    ...responseHeaders(response.headers),
    location
  }
  const shown = filter === undefined
    ? headers
    : Record.map(headers, (value) => value && filter.text(value))
  const body = filter === undefined
    ? response.body
    : Stream.concat(
      Stream.map(response.body, filter.push),
      Stream.suspend(() => Stream.make(filter.end()))
    )
  return HttpServerResponse.stream(Stream.filter(body, (piece) => piece.byteLength > 0), {
    status: response.status,
    headers: shown,
    ...(contentType === undefined ? {} : { contentType: filter?.text(contentType) ?? contentType }),
    ...(length === undefined ? {} : { contentLength: Number(length) })
  })
})

const unusable = ApiProblem.of(
  "resource_response_refused",
  "The resource answered in a way that cannot be passed on: a status that is none, or an encoded body in which the token cannot be found"
)
