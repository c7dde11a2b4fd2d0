import { ApiProblem, type RequestFault } from "@valetkey/api/ApiProblem"
import { Authorization } from "@valetkey/api/Authorization"
import { Boundary } from "@valetkey/api/Boundary"
import { EndpointPolicy } from "@valetkey/api/Policy"
import { ByteSize, Cause, Context, Effect, Layer, SchemaIssue } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import { HttpApiSchemaError } from "effect/http-api/HttpApiError"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import { HttpServerError } from "effect/http/HttpServerError"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { randomUUID } from "node:crypto"
import { apiHeaders, render } from "./ProblemResponse.ts"

/** The largest body that the API takes. */
export const maxBody = ByteSize.fromInputUnsafe("128 KiB")

/**
 * Layer of `Boundary`: an endpoint without a policy, or guarded by name only, is refused; every failure becomes a problem
 * with a correlation id under which the log has the cause.
 */
export const layer: Layer.Layer<Boundary> = Layer.succeed(
  Boundary,
  Boundary.of((httpEffect, { endpoint }) => {
    if (!isGoverned(endpoint)) return Effect.succeed(render(ungoverned))
    return bounded(Effect.map(httpEffect, finish)).pipe(Effect.provideService(MaxBodySize, maxBody))
  })
)

/** Turns every failure into a problem with a correlation id. */
export const bounded = <E, R>(
  httpEffect: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R> =>
  Effect.suspend(() => {
    const correlationId = randomUUID()
    return httpEffect.pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : Effect.map(problemOf(cause), (problem) => render(new ApiProblem({ ...problem, correlationId })))
      ),
      Effect.annotateLogs("correlationId", correlationId)
    )
  })

/** The problem that a failed request is answered with; what the caller may not see goes to the log. */
export const problemOf = (cause: Cause.Cause<unknown>): Effect.Effect<ApiProblem> => {
  const error = Cause.squash(cause)
  if (error instanceof ApiProblem) return Effect.succeed(error)
  if (HttpApiSchemaError.is(error) && error.kind !== "Body" && error.kind !== "ResponseHeaders") {
    return Effect.succeed(
      ApiProblem.of("invalid_request", "The request is not what this endpoint takes; see errors", {
        errors: faultsOf(error)
      })
    )
  }
  if (error instanceof HttpServerError && error.reason._tag === "RequestParseError") {
    return Effect.succeed(
      error.reason.reason === "BodyTooLarge"
        ? ApiProblem.of("payload_too_large", "The body is larger than this server takes")
        : ApiProblem.of("invalid_request", "The body could not be read; send it whole and in UTF-8")
    )
  }
  return Effect.as(
    Effect.logError("request failed", cause),
    ApiProblem.of("internal", "Something went wrong here; the server's log has the cause under the correlation id")
  )
}

const isGoverned = (endpoint: HttpApiEndpoint.Top): boolean => {
  const policy = Context.getOrUndefined(endpoint.annotations, EndpointPolicy)
  return policy !== undefined &&
    (policy._tag === "Open" || (endpoint.middlewares as ReadonlySet<unknown>).has(Authorization))
}

const ungoverned = ApiProblem.of("forbidden", "This endpoint has no policy, so nobody may use it")

/** A body of another type is answered before any handler runs, as plain text that repeats the header. */
const finish = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse =>
  response.status === 415
    ? render(ApiProblem.of("unsupported_media_type", "Send the body as application/json"))
    : HttpServerResponse.setHeaders(response, apiHeaders)

const faultsOf = (error: HttpApiSchemaError): ReadonlyArray<RequestFault> => {
  const slot = error.kind.toLowerCase()
  return format(error.cause.issue).issues.slice(0, 20).map(({ message, path }) => ({
    path: [slot, ...(path ?? []).map(segment)],
    message
  }))
}

/** A key that the caller made up is part of the path; a long one is cut. */
const segment = (part: PropertyKey | { readonly key: PropertyKey }): string | number => {
  const key = typeof part === "object" ? part.key : part
  return typeof key === "number" ? key : String(key).slice(0, 64)
}

/** Says what was expected. The input is never part of a message. */
const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => SchemaIssue.defaultLeafHook(withoutInput(issue)),
  // A check of a whole that points to a part says itself what is expected there.
  checkHook: (issue) =>
    SchemaIssue.defaultCheckHook(issue) ?? (issue.issue._tag === "Pointer" ? undefined : expectationOf(issue))
})

const withoutInput = <Issue extends SchemaIssue.Leaf>(issue: Issue): Issue => {
  const copy = Object.create(Object.getPrototypeOf(issue), Object.getOwnPropertyDescriptors(issue))
  delete copy.input
  return copy
}

const expectationOf = (issue: SchemaIssue.Filter): string => {
  const expected = issue.filter.annotations?.["expected"]
  return typeof expected === "string" ? `Expected ${expected}` : "Expected a valid value"
}
