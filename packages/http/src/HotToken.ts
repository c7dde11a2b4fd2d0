import { EndpointPolicy } from "@valetkey/api/Policy"
import type { Principal } from "@valetkey/api/Principal"
import { TokensApi } from "@valetkey/api/TokensApi"
import {
  type AccessToken,
  type AccessTokenError,
  activeConnection,
  defaultValidity,
  openAccessToken
} from "@valetkey/domain/AccessToken"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { type AuditOrigin, classOf } from "@valetkey/domain/AuditOrigin"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { Cipher } from "@valetkey/domain/Cipher"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { isFresh } from "@valetkey/domain/Credentials"
import * as Instruments from "@valetkey/domain/Instruments"
import type { ServerSlug } from "@valetkey/domain/Server"
import { type ServerRules, Servers } from "@valetkey/domain/Servers"
import { Context, DateTime, Duration, Effect, Exit, Metric, Redacted } from "effect"
import { IncomingMessage, type Server, type ServerResponse } from "node:http"
import { Authenticator } from "./Authenticator.ts"
import { refuse as refusePrincipal } from "./Guard.ts"
import { type OriginGuardOptions, refuse as refuseOrigin } from "./OriginGuard.ts"
import { apiHeaders } from "./ProblemResponse.ts"
import { resourceOf } from "./TokensHandlers.ts"

/** Takes a request if it may be the hot one. False: nothing was touched. `fallback` gets what turns out to be another. */
export type HotToken = (
  request: IncomingMessage,
  response: ServerResponse,
  fallback: (request: IncomingMessage, response: ServerResponse) => void
) => boolean

const path = /^\/v1\/connections\/([a-z0-9][a-z0-9._-]{0,62})\/token$/
const maxBody = 1024
const nothingAsked = Buffer.from("{}")
const countRead = Metric.update(Instruments.storedReads, 1)
const policy = Context.getOrUndefined(TokensApi.endpoints.get.annotations, EndpointPolicy)

/**
 * Makes the short way to a stored token that is fresh: a credential that was just verified, a plain body, one read, one
 * opened envelope. Every other request, every miss and every error goes the way of the contract, and gets its answers.
 */
export const make = (
  options: OriginGuardOptions = {}
): Effect.Effect<HotToken, never, AccessTokens | AuditTrail | Authenticator | Cipher | ConnectionStore | Servers> =>
  Effect.gen(function*() {
    const authenticator = yield* Authenticator
    const connections = yield* ConnectionStore
    const tokens = yield* AccessTokens
    const cipher = yield* Cipher
    const trail = yield* AuditTrail
    const servers = yield* Servers
    const run = Effect.runForkWith(yield* Effect.context<never>())

    const stored = (
      { kind, subject, tenant }: Principal,
      server: ServerSlug,
      validity: Duration.Duration,
      from: AuditOrigin["from"]
    ): Effect.Effect<Hit | undefined, AccessTokenError> => {
      // The principal was checked when it was verified, the slug by the pattern of the path.
      const key = new ConnectionKey({ tenant, subject, server }, { disableChecks: true })
      return Effect.flatMap(
        servers.rulesOf(tenant, server),
        (rules) =>
          rules.tokens === "proxied" ? Effect.undefined : connections.get(key).pipe(
            Effect.flatMap((found) => activeConnection(key, found)),
            Effect.flatMap((connection) =>
              Effect.flatMap(DateTime.now, (now) => {
                if (connection.grant.keeps !== undefined) return Effect.undefined
                if (connection.rejected || !isFresh(connection.credentials, validity, now)) return Effect.undefined
                // The long way renews it while nobody waits.
                if (tokens.isDue(connection, now)) return Effect.undefined
                return openAccessToken(cipher, connection).pipe(
                  Effect.flatMap((token) =>
                    // What is bound to a key leaves with a proof or not at all.
                    token === undefined || token.proofKey !== undefined ?
                      Effect.undefined :
                      trail.used(key, token, { principal: kind, from }).pipe(
                        Effect.andThen(countRead),
                        Effect.as({ token, rules })
                      )
                  )
                )
              })
            )
          )
      )
    }

    return (request, response, fallback) => {
      if (request.method !== "POST") return false
      const server = path.exec(request.url ?? "")?.[1] as ServerSlug | undefined
      if (server === undefined || !isPlain(request) || refuseOrigin(options, request.headers as never) !== undefined) {
        return false
      }
      const principal = authenticator.remembered(credentialOf(request))
      if (principal === undefined || refusePrincipal(policy, principal) !== undefined) return false
      read(request, (body) => {
        const replay = () => fallback(replayOf(request, body), response)
        const validity = validityOf(body)
        if (validity === undefined) return replay()
        run(stored(principal, server, validity, classOf(request.socket.remoteAddress))).addObserver((exit) =>
          Exit.isSuccess(exit) && exit.value !== undefined ? answer(response, exit.value) : replay()
        )
      })
      return true
    }
  })

/** Puts the short way before whatever else listens to a server's requests. */
export const attach = (server: Server, hot: HotToken): void => {
  const emit = server.emit.bind(server) as (event: string, ...input: ReadonlyArray<unknown>) => boolean
  const fallback = (request: IncomingMessage, response: ServerResponse) => void emit("request", request, response)
  server.emit = (event: string, ...input: ReadonlyArray<never>): boolean =>
    (event === "request" && hot(input[0] as never, input[1] as never, fallback)) || emit(event, ...input)
}

/** Whether the body is small, of known length, JSON and unencoded. */
const isPlain = ({ headers }: IncomingMessage): boolean => {
  const type = headers["content-type"]
  return headers["transfer-encoding"] === undefined && headers["content-encoding"] === undefined &&
    headers.expect === undefined && headers.upgrade === undefined &&
    Number(headers["content-length"] ?? 0) <= maxBody &&
    (type === undefined || type === "application/json")
}

const credentialOf = ({ headers: { authorization = "" } }: IncomingMessage): string =>
  authorization.startsWith("Bearer ") ? authorization.slice(7) : ""

const read = (request: IncomingMessage, use: (body: Buffer) => void): void => {
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => use(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)))
}

/** What the contract would decode of a body that asks for nothing but a validity; undefined for every other body. */
const validityOf = (body: Buffer): Duration.Duration | undefined => {
  if (body.length === 0 || body.equals(nothingAsked)) return defaultValidity
  try {
    const value: unknown = JSON.parse(body.toString("utf8"))
    if (value === null) return defaultValidity
    if (typeof value !== "object" || Array.isArray(value)) return undefined
    const { minValiditySeconds: seconds, ...rest } = value as { readonly minValiditySeconds?: unknown }
    if (Object.keys(rest).length > 0) return undefined
    if (!("minValiditySeconds" in value)) return defaultValidity
    return typeof seconds === "number" && Number.isInteger(seconds) && seconds >= 0 && seconds <= 86_400
      ? Duration.seconds(seconds)
      : undefined
  } catch {
    return undefined
  }
}

/** The same request with its body still to be read. */
const replayOf = (request: IncomingMessage, body: Buffer): IncomingMessage => {
  const replay = new IncomingMessage(request.socket)
  replay.method = request.method!
  replay.url = request.url!
  replay.httpVersion = request.httpVersion
  replay.httpVersionMajor = request.httpVersionMajor
  replay.httpVersionMinor = request.httpVersionMinor
  replay.headers = request.headers
  replay.rawHeaders = request.rawHeaders
  replay.push(body.length === 0 ? null : body)
  if (body.length > 0) replay.push(null)
  replay.complete = true
  return replay
}

/** A token that may leave, and what holds for its server. */
interface Hit {
  readonly token: AccessToken
  readonly rules: ServerRules
}

const answer = (response: ServerResponse, { rules, token }: Hit): void => {
  if (response.destroyed) return
  const body = JSON.stringify({
    accessToken: Redacted.value(token.accessToken),
    tokenType: token.tokenType,
    expiresAt: token.expiresAt === undefined ? undefined : DateTime.formatIso(token.expiresAt),
    scopes: token.scopes,
    generation: token.generation,
    ...resourceOf(token, rules.resource)
  })
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...apiHeaders
  })
  // A text leaves in one piece with the headers; bytes would be a second write.
  response.end(body)
}
