import { ReauthReason } from "@valetkey/domain/Connection"
import { FlowId } from "@valetkey/domain/Flow"
import { Duration, Schema } from "effect"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import { type DomainError, type ErrorCode, errorCodes, type ErrorStatus, errorStatus } from "./ErrorStatus.ts"
import { ApiScope } from "./Principal.ts"

/** Schema for one fault of a request: where it is and what was expected there, never what was sent. */
export const RequestFault = Schema.Struct({
  path: Schema.Array(Schema.Union([Schema.String, Schema.Number])),
  message: Schema.String
})
export type RequestFault = typeof RequestFault.Type

/**
 * Error of every endpoint: problem details with a stable `code` and a sentence that says what to do next.
 *
 * @see RFC 9457
 */
export class ApiProblem extends Schema.Error<ApiProblem>("valetkey/ApiProblem")({
  type: Schema.String,
  title: Schema.String,
  status: Schema.Int,
  code: Schema.Literals(errorCodes),
  detail: Schema.String,
  /** Names the request in the server's log. */
  correlationId: Schema.optionalKey(Schema.String),
  /** With `invalid_request`: what is wrong where. */
  errors: Schema.optionalKey(Schema.Array(RequestFault)),
  /** With `flow_conflict`: the flow that is open. */
  running: Schema.optionalKey(FlowId),
  /** With `reauthorization_required`: why the person is needed. */
  reason: Schema.optionalKey(ReauthReason),
  /** With `reauthorization_required` and `insufficient_scope`: the request that starts it. */
  reauthorize: Schema.optionalKey(Schema.Struct({
    method: Schema.Literal("POST"),
    href: Schema.String,
    body: Schema.Struct({
      server: Schema.String,
      reauthorize: Schema.Literal(true),
      scopes: Schema.optionalKey(Schema.Array(Schema.String))
    })
  })),
  /** With `insufficient_scope`: what the person has to consent to, the scopes that are granted included. */
  scopes: Schema.optionalKey(Schema.Array(Schema.String)),
  /** With `forbidden`: scopes of which the caller needs all. */
  requiredScopes: Schema.optionalKey(Schema.Array(ApiScope)),
  /** Seconds until another attempt is worth it; also in `Retry-After`. */
  retryAfterSeconds: Schema.optionalKey(Schema.Natural)
}, { description: "Problem details (RFC 9457)" }) {
  get _tag() {
    return "ApiProblem" as const
  }
  override get message() {
    return this.detail
  }

  /** Builds the problem of a code; type, title and status follow from it. */
  static of(code: ErrorCode, detail: string, members: ProblemMembers = {}): ApiProblem {
    return new ApiProblem({
      ...members,
      type: `https://valetkey.dev/problems/${code}`,
      title: titleOf(code),
      status: errorStatus[code],
      code,
      detail
    })
  }

  /** Builds the problem of a domain error. Causes and operations stay behind. */
  static fromError(error: DomainError): ApiProblem {
    return ApiProblem.of(error.code, error.message, membersOf(error))
  }
}

/** Members of a problem beyond what its code decides. */
export type ProblemMembers = Partial<
  Pick<
    ApiProblem,
    | "correlationId"
    | "errors"
    | "reason"
    | "reauthorize"
    | "requiredScopes"
    | "retryAfterSeconds"
    | "running"
    | "scopes"
  >
>

/** Schema for a problem under one status. */
export interface ProblemSchema extends Schema.Codec<ApiProblem, typeof ApiProblem.Encoded> {}

/** The schemas of the problems that an endpoint may answer with, one for each status. */
export const problems = (...statuses: ReadonlyArray<ErrorStatus>): ReadonlyArray<ProblemSchema> =>
  statuses.map((status) => byStatus.get(status)!)

const byStatus: ReadonlyMap<ErrorStatus, ProblemSchema> = new Map(
  Object.values(errorStatus).map((status) => [
    status,
    ApiProblem.pipe(HttpApiSchema.status(status), HttpApiSchema.asJson({ contentType: "application/problem+json" }))
  ])
)

const titleOf = (code: string): string => code[0]!.toUpperCase() + code.slice(1).replaceAll("_", " ")

const membersOf = (error: DomainError): ProblemMembers => {
  switch (error._tag) {
    case "FlowConflict":
      return { running: error.running }
    case "TokenError":
      return {
        ...(error.reason === undefined ? {} : { reason: error.reason }),
        ...(error.retryAfter === undefined
          ? {}
          : { retryAfterSeconds: Math.max(1, Math.ceil(Duration.toSeconds(error.retryAfter))) })
      }
    case "ProxyRefused":
      return error.code === "proxy_busy" ? { retryAfterSeconds: 1 } : {}
    case "TokenRefused":
      return {
        ...(error.scopes === undefined ? {} : { scopes: error.scopes }),
        ...(error.code === "request_not_replayed" ? { retryAfterSeconds: 1 } : {})
      }
    case "CipherError":
      // Keys of tenants are read from the store; the others come back when an operator has brought them.
      return error.code === "integrity_error"
        ? {}
        : { retryAfterSeconds: error.code === "encryption_key_unavailable" ? 1 : 30 }
    case "StoreError":
      return error.code === "store_corrupt" || error.code === "tenant_deleted" ? {} : { retryAfterSeconds: 1 }
    default:
      return {}
  }
}
