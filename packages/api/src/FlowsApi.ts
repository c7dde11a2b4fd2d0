import { maxCallbackUrl } from "@valetkey/domain/CallbackUrl"
import { CompareCode } from "@valetkey/domain/CompareCode"
import { Confirmation, FlowFailure, FlowId, FlowState, OnConflict, TransportKind } from "@valetkey/domain/Flow"
import { ScopeToken, ServerSlug } from "@valetkey/domain/Server"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { ConnectionView } from "./ConnectionsApi.ts"
import { group, guarded, inConsole } from "./Policy.ts"
import { Instant } from "./Text.ts"

/** Schema for what a start may choose. */
export const StartPayload = Schema.Struct({
  server: ServerSlug,
  /** Default what the server prefers. */
  transport: Schema.optionalKey(TransportKind),
  /** Default those of the server, else those that discovery recommends. */
  scopes: Schema.optionalKey(Schema.Array(ScopeToken).check(Schema.isMaxLength(100))),
  /** Default `reject`. */
  onConflict: Schema.optionalKey(OnConflict),
  /** Ask the person again although the connection is active. */
  reauthorize: Schema.optionalKey(Schema.Boolean),
  /** With `finalize` the code waits, for a minute, for `POST /v1/flows/{flowId}/finalize`. */
  confirmation: Schema.optionalKey(Confirmation),
  /** With `finalize`: where the browser brings `flow_id` and `completion_code`, or `error`. A registered return URL, to the letter. */
  returnTo: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(2048)))
}).annotate({ identifier: "StartFlow" })
export type StartPayload = typeof StartPayload.Type

/** Schema for how often a flow was handed off: what a smaller number was given with leads nowhere any more. An older server says none. */
const HandOffs = Schema.optionalKey(Schema.Natural)

/**
 * Schema for a flow that was started over loopback, or by an application that finalizes it: the person opens the
 * provider's URL. The URL holds `state` and is a secret until it is used.
 */
export const FlowStarted = Schema.Struct({
  flowId: FlowId,
  status: FlowState,
  authorizationUrl: Schema.RedactedFromValue(Schema.String),
  transport: TransportKind,
  handOffs: HandOffs,
  expiresAt: Instant
}).annotate({ identifier: "FlowStarted" })
export type FlowStarted = typeof FlowStarted.Type

/**
 * Schema for a flow that was started where any browser can come back: the person opens the connect page, which binds
 * their browser. The URL holds the ticket and is a secret until it is used; the page shows the compare code.
 */
export const FlowOffered = Schema.Struct({
  flowId: FlowId,
  status: FlowState,
  connectUrl: Schema.RedactedFromValue(Schema.String),
  /** Show it where the person started: the page must show the same. */
  compareCode: CompareCode,
  transport: TransportKind,
  handOffs: HandOffs,
  expiresAt: Instant
}).annotate({ identifier: "FlowOffered" })
export type FlowOffered = typeof FlowOffered.Type

/**
 * Schema for a flow whose person consents on another device (RFC 8628 §3.3): they open `verificationUri` anywhere and enter
 * the user code. Nothing binds that device. Whoever knows the code can consent with an account of theirs, so show it to
 * the person who started and to nobody else.
 */
export const FlowVerifying = Schema.Struct({
  flowId: FlowId,
  status: FlowState,
  userCode: Schema.RedactedFromValue(Schema.String),
  verificationUri: Schema.String,
  /** The same page with the user code in it, of the same origin; show the user code all the same. */
  verificationUriComplete: Schema.optionalKey(Schema.RedactedFromValue(Schema.String)),
  transport: TransportKind,
  handOffs: HandOffs,
  expiresAt: Instant
}).annotate({ identifier: "FlowVerifying" })
export type FlowVerifying = typeof FlowVerifying.Type

/** Schema for the running flow that a caller joined. Its URL went to whoever started it. */
export const FlowJoined = Schema.Struct({
  flowId: FlowId,
  status: FlowState,
  joined: Schema.Literal(true),
  transport: TransportKind,
  handOffs: HandOffs,
  expiresAt: Instant
}).annotate({ identifier: "FlowJoined" })
export type FlowJoined = typeof FlowJoined.Type

/** Schema for the connection that is there already, so that no person is needed. */
export const AlreadyConnected = Schema.Struct({
  alreadyConnected: Schema.Literal(true),
  connection: ConnectionView
}).annotate({ identifier: "AlreadyConnected" })
export type AlreadyConnected = typeof AlreadyConnected.Type

/** Schema for one attempt to obtain credentials, as its owner sees it. No URL and no cause. */
export const FlowView = Schema.Struct({
  flowId: FlowId,
  server: ServerSlug,
  status: FlowState,
  /** With `failed`: a stable code and its fixed sentence. */
  failure: Schema.optionalKey(Schema.Struct({ code: FlowFailure, message: Schema.String })),
  /** With `completed`: the connection as it is now. */
  connection: Schema.optionalKey(ConnectionView),
  transport: TransportKind,
  handOffs: HandOffs,
  createdAt: Instant,
  expiresAt: Instant,
  settledAt: Schema.optionalKey(Instant)
}).annotate({ identifier: "Flow" })
export type FlowView = typeof FlowView.Type

/** Schema for what the browser brought to the return URL. */
export const FinalizePayload = Schema.Struct({
  completionCode: Schema.RedactedFromValue(Schema.String.check(Schema.isBetweenLength(1, 128)))
}).annotate({ identifier: "FinalizeFlow" })
export type FinalizePayload = typeof FinalizePayload.Type

/** Schema for the address where a browser ended that could not reach the redirect URI. It holds code and state. */
export const PastePayload = Schema.Struct({
  url: Schema.RedactedFromValue(Schema.String.check(Schema.isBetweenLength(1, maxCallbackUrl)))
}).annotate({ identifier: "PasteCallback" })
export type PastePayload = typeof PastePayload.Type

/** Schema for how a running flow goes on. */
export const HandOffPayload = Schema.Struct({ transport: TransportKind }).annotate({ identifier: "HandOffFlow" })
export type HandOffPayload = typeof HandOffPayload.Type

/** Any text: what is no flow id names no flow, and is answered like one that does not exist. */
const params = { flowId: Schema.String }

/** Obtaining credentials with a person's consent. */
export class FlowsApi extends group(
  "flows",
  inConsole(guarded(
    ["flows:write"],
    HttpApiEndpoint.post("start", "/v1/flows", {
      payload: StartPayload,
      success: [
        FlowStarted.pipe(HttpApiSchema.status(201)),
        FlowOffered.pipe(HttpApiSchema.status(201)),
        FlowVerifying.pipe(HttpApiSchema.status(201)),
        FlowJoined,
        AlreadyConnected
      ],
      error: problems(404, 409, 422, 502, 503)
    }).annotate(OpenApi.Summary, "Start a flow")
  )),
  guarded(
    ["flows:write"],
    HttpApiEndpoint.get("status", "/v1/flows/:flowId", {
      params,
      /** Seconds to wait for the flow to settle. */
      query: { wait: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 }))) },
      success: FlowView,
      error: problems(404, 503)
    }).annotate(OpenApi.Summary, "One flow; waits up to `wait` seconds for it to settle")
  ),
  guarded(
    ["flows:write"],
    HttpApiEndpoint.delete("cancel", "/v1/flows/:flowId", {
      params,
      success: HttpApiSchema.NoContent,
      error: problems(404, 503)
    }).annotate(OpenApi.Summary, "Cancel a flow; a settled one stays as it is")
  ),
  guarded(
    ["flows:write"],
    HttpApiEndpoint.post("paste", "/v1/flows/:flowId/callback", {
      params,
      payload: PastePayload,
      success: FlowView,
      error: problems(404, 409, 422, 503)
    }).annotate(
      OpenApi.Summary,
      "Hand over the address where the browser ended, when it cannot reach the redirect URI of a loopback flow; waits for the flow to settle"
    )
  ),
  guarded(
    ["flows:write"],
    HttpApiEndpoint.post("handOff", "/v1/flows/:flowId/handoff", {
      params,
      payload: HandOffPayload,
      success: [FlowStarted, FlowOffered, FlowVerifying],
      error: problems(404, 409, 422, 502, 503)
    }).annotate(
      OpenApi.Summary,
      "Continue a flow that waits for its consent with another transport; what was handed out before leads nowhere any more"
    )
  ),
  guarded(
    ["flows:write"],
    HttpApiEndpoint.post("finalize", "/v1/flows/:flowId/finalize", {
      params,
      payload: FinalizePayload,
      success: FlowView,
      error: problems(403, 404, 409, 503)
    }).annotate(
      OpenApi.Summary,
      "Exchange a held code: the caller is the signed-in user, the completion code came with their browser"
    )
  )
).annotate(OpenApi.Description, "Obtaining credentials with a person's consent.") {}
