import { Context, type Effect, type Redacted, Schema, type Scope, type Stream } from "effect"

/** Error of a request to a resource that got no whole answer. */
export class ResourceError extends Schema.TaggedError<ResourceError>("valetkey/ResourceError")("ResourceError", {
  code: Schema.Literals([
    "egress_refused",
    "resource_unreachable",
    "resource_interrupted",
    "resource_timeout"
  ]),
  /** False only when certainly no byte left. */
  sent: Schema.Boolean
}) {
  override get message() {
    switch (this.code) {
      case "egress_refused":
        return "The server's resource is at an address that is not allowed; allow it with VALETKEY_ALLOW_EGRESS if it is intended"
      case "resource_unreachable":
        return "The server's resource URL cannot be reached; check the URL and that the server is up"
      case "resource_interrupted":
        return "The resource broke off before its answer was there; whether it did what was asked is not known"
      case "resource_timeout":
        return "The resource did not answer in time; whether it did what was asked is not known"
    }
  }
}

/** A request to a resource. The token is added to it and to nothing else. */
export interface ResourceRequest {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | AsyncIterable<Uint8Array> | undefined
  /** The length of an iterated body, where it is known. */
  readonly length?: number | undefined
  readonly accessToken: Redacted.Redacted
  /** The key that the token is bound to: the request then carries a proof of its possession. */
  readonly proofKey?: Redacted.Redacted | undefined
}

/** A request that its maker sends itself, and what it is to prove (RFC 9449 §4.2). */
export interface ProofRequest {
  readonly accessToken: Redacted.Redacted
  readonly proofKey: Redacted.Redacted
  readonly method: string
  readonly url: URL
  /** What the resource asked for (RFC 9449 §9). */
  readonly nonce: string | undefined
}

/** What a resource answers, its body as it arrives. */
export interface ResourceResponse {
  readonly status: number
  /** Lower case, without cookies. */
  readonly headers: Readonly<Record<string, string>>
  /** The Bearer or DPoP challenge, where there is one (RFC 6750 §3, RFC 9449 §7.1). */
  readonly challenge: { readonly error: string | undefined; readonly scopes: ReadonlyArray<string> } | undefined
  readonly body: Stream.Stream<Uint8Array, ResourceError>
}

/** Port: protected resources, asked with an access token. */
export class ResourceServer extends Context.Service<ResourceServer, {
  /**
   * Whether requests to a resource may leave at all, by its URL alone. An address behind a name that may is judged with
   * each request.
   */
  admits(resource: string): Effect.Effect<void, ResourceError>
  /**
   * Sends a request at most once and returns when the head of the answer is there. Follows nothing. Closing the scope
   * ends the exchange; a body that breaks off fails and never ends well. A request that the resource did not look at for
   * want of its nonce is made again with it, if its body is there.
   *
   * @see RFC 6750 §2.1, RFC 9449 §7.1, §9
   */
  send(request: ResourceRequest): Effect.Effect<ResourceResponse, ResourceError, Scope.Scope>
  /** Signs the proof of one request (RFC 9449 §4.2). It says nothing of any other, and the key stays here. */
  prove(request: ProofRequest): Effect.Effect<Redacted.Redacted>
}>()("@valetkey/domain/ResourceServer") {}
