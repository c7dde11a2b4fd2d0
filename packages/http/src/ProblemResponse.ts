import { ApiProblem } from "@valetkey/api/ApiProblem"
import { Schema } from "effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

const encode = Schema.encodeSync(ApiProblem)

/** Headers of every answer of the API: nothing may be kept and nothing guessed. */
export const apiHeaders = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff"
} as const

/**
 * Renders a problem, with the challenge of a refused credential and the time after which to retry.
 *
 * @see RFC 9457 §3
 */
export const render = (problem: ApiProblem): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(JSON.stringify(encode(problem)), {
    status: problem.status,
    contentType: "application/problem+json",
    headers: {
      ...apiHeaders,
      ...challengeOf(problem),
      ...(problem.retryAfterSeconds === undefined ? {} : { "retry-after": String(problem.retryAfterSeconds) })
    }
  })

/** RFC 6750 §3. */
const challengeOf = ({ code, requiredScopes }: ApiProblem): { readonly "www-authenticate"?: string } => {
  if (code === "unauthorized") return { "www-authenticate": `${realm}, error="invalid_token"` }
  return requiredScopes === undefined
    ? {}
    : { "www-authenticate": `${realm}, error="insufficient_scope", scope="${requiredScopes.join(" ")}"` }
}

const realm = "Bearer realm=\"valetkey\""
