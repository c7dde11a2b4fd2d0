import { Context, Effect, Layer, Schema, type Scope } from "effect"
import type { AccessToken, AccessTokenError } from "./AccessToken.ts"
import { AccessTokens } from "./AccessTokens.ts"
import { type TokenRefused, type Verdict, withAccessToken } from "./AuthorizedUse.ts"
import type { ConnectionKey } from "./Connection.ts"
import * as Destination from "./Destination.ts"
import { makeSlots } from "./internal/slots.ts"
import { type ResourceError, type ResourceResponse, ResourceServer } from "./ResourceServer.ts"
import { rowOf } from "./Sealed.ts"
import type { TokenCustody } from "./Server.ts"
import { Servers } from "./Servers.ts"
import { ServerNotFound } from "./ServerStore.ts"
import type { StoreError } from "./StoreError.ts"

/** Error of a request that the proxy does not take. Nothing was sent. */
export class ProxyRefused extends Schema.TaggedError<ProxyRefused>("valetkey/ProxyRefused")("ProxyRefused", {
  code: Schema.Literals(["resource_changed", "proxy_busy"])
}) {
  override get message() {
    return this.code === "resource_changed"
      ? "The server describes another resource than the person consented to; connect again, or describe the former one"
      : "Too many requests of this connection or to this server are under way; retry when one of them has ended"
  }
}

/** What a request carries. Bytes can be sent a second time, what is iterated cannot. */
export type ProxyBody =
  | Uint8Array
  | { readonly pieces: AsyncIterable<Uint8Array>; readonly length: number | undefined }
  | undefined

/** A request below the resource of a server. */
export interface ProxyRequest<E = never> {
  readonly method: string
  /** As it was written: begins with a slash, or is empty for the resource itself. */
  readonly path: string
  /** As it was written, without the question mark. */
  readonly query: string
  /** What goes along depends on whether the caller may hold the token. */
  readonly headers: (custody: TokenCustody) => Readonly<Record<string, string>>
  /** Read when the request has its places, so that bodies which are kept cost no more memory than there are places. */
  readonly body: Effect.Effect<ProxyBody, E, Scope.Scope>
}

/** What the resource answered, and with what it was asked. */
export interface Proxied {
  readonly response: ResourceResponse
  readonly url: URL
  readonly resource: string
  readonly token: AccessToken
  readonly custody: TokenCustody
}

/** Every reason for which a request gets no answer of the resource. */
export type ProxyError =
  | AccessTokenError
  | Destination.DestinationRefused
  | ProxyRefused
  | ResourceError
  | ServerNotFound
  | StoreError
  | TokenRefused

/** Use case: requests to a server's resource with the token of a connection, which the caller never sees. */
export class ResourceProxy extends Context.Service<ResourceProxy, {
  /**
   * Sends a request to the resource that the person consented to, below its path and nowhere else. A rejected token is
   * refreshed and the request made once more, if its body is there. A request that is refused has no byte of its body read.
   * The exchange ends with the scope.
   */
  send<E = never>(key: ConnectionKey, request: ProxyRequest<E>): Effect.Effect<Proxied, E | ProxyError, Scope.Scope>
}>()("@valetkey/domain/ResourceProxy") {
  /** Layer of the use case. Slow resources hold no more than these places; more requests are refused, not queued. */
  static readonly layer = (options?: {
    /** Requests of one connection that may be under way. Default 32. */
    readonly perConnection?: number | undefined
    /** Requests of one tenant to one server that may be under way. Default 256. */
    readonly perServer?: number | undefined
  }): Layer.Layer<ResourceProxy, never, AccessTokens | ResourceServer | Servers> =>
    Layer.effect(
      ResourceProxy,
      Effect.gen(function*() {
        const tokens = yield* AccessTokens
        const resources = yield* ResourceServer
        const servers = yield* Servers
        const slots = makeSlots()
        const perConnection = options?.perConnection ?? 32
        const perServer = options?.perServer ?? 256
        const busy = () => new ProxyRefused({ code: "proxy_busy" })

        const send = Effect.fn("ResourceProxy.send")(function*<E>(key: ConnectionKey, request: ProxyRequest<E>) {
          yield* Effect.annotateCurrentSpan({ "valetkey.tenant": key.tenant, "valetkey.server": key.server })
          const { resource, tokens: custody } = yield* servers.rulesOf(key.tenant, key.server)
          if (resource === undefined) return yield* new ServerNotFound()
          const url = yield* Effect.fromResult(Destination.below(resource, request.path, request.query))
          yield* slots.take(`c ${key.path}`, perConnection, busy)
          yield* slots.take(`s ${rowOf(key.tenant, key.server)}`, perServer, busy)
          const { method } = request
          const body = yield* request.body
          const headers = request.headers(custody)
          const iterated = body !== undefined && !(body instanceof Uint8Array)
          const { answer, token } = yield* withAccessToken(tokens, key, {
            send: (token): Effect.Effect<ResourceResponse, ProxyRefused | ResourceError, Scope.Scope> =>
              token.destination === undefined || Destination.covers(token.destination, resource)
                ? resources.send({
                  method,
                  url,
                  headers,
                  accessToken: token.accessToken,
                  proofKey: token.proofKey,
                  ...(iterated ? { body: body.pieces, length: body.length } : { body })
                })
                : Effect.fail(new ProxyRefused({ code: "resource_changed" })),
            judge: verdictOf,
            replayable: () => !iterated
          })
          return { response: answer, url, resource, token, custody }
        })

        return ResourceProxy.of({ send })
      })
    )
}

/**
 * RFC 6750 §3.1: a 401 is about the token, and a 403 is when its challenge says so. One that wants a nonce (RFC 9449 §9) is
 * about neither the token nor the key.
 */
const verdictOf = ({ challenge, status }: ResourceResponse): Verdict =>
  status === 401 && challenge?.error === "use_dpop_nonce"
    ? { _tag: "Unproved" }
    : status === 401
    ? { _tag: "Rejected" }
    : status === 403 && challenge?.error === "insufficient_scope"
    ? { _tag: "Insufficient", scopes: challenge.scopes }
    : { _tag: "Accepted" }
