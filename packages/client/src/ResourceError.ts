import { Schema } from "effect"
import type { ClientError } from "./ClientError.ts"

/** Error of a request that would have carried a token to another origin than that of its server. Nothing was sent. */
export class OriginRefused extends Schema.TaggedError<OriginRefused>("valetkey/client/OriginRefused")("OriginRefused", {
  server: Schema.String
}) {
  readonly code = "origin_refused_for_token"
  override get message() {
    return `The URL is not of the origin of ${this.server}'s resource, and the token is for that alone; check the URL and the name.`
  }
}

/** Error of a resource that needs scopes which the person has not granted: start a flow for `scopes`, with `reauthorize`. */
export class ScopeInsufficient
  extends Schema.TaggedError<ScopeInsufficient>("valetkey/client/ScopeInsufficient")("ScopeInsufficient", {
    server: Schema.String,
    /** The granted scopes and those that the resource names (RFC 6750 §3.1). */
    scopes: Schema.Array(Schema.String)
  })
{
  readonly code = "insufficient_scope"
  override get message() {
    return `The resource of ${this.server} needs scopes that the person has not granted; start a flow for them with reauthorize.`
  }
}

/** Every error of a request to a resource that is not the request's own. */
export type ResourceError = ClientError | OriginRefused | ScopeInsufficient
