import type { AccessTokenError } from "@valetkey/domain/AccessToken"
import type { ApiKeyNotFound } from "@valetkey/domain/ApiKeys"
import type { RecipientInvalid } from "@valetkey/domain/ArchiveSealer"
import type { CallbackRejected } from "@valetkey/domain/Authorization"
import type { TokenRefused } from "@valetkey/domain/AuthorizedUse"
import type { CallbackUrlError } from "@valetkey/domain/CallbackUrl"
import type { DepositConflict } from "@valetkey/domain/Connections"
import type { DestinationRefused } from "@valetkey/domain/Destination"
import type { ExportRefused } from "@valetkey/domain/Exports"
import type { CompletionCodeInvalid, FlowNotReady } from "@valetkey/domain/Finalization"
import type { HandOffError, StartError } from "@valetkey/domain/Flows"
import type { FlowNotFound } from "@valetkey/domain/FlowStore"
import type { KeysManagedElsewhere } from "@valetkey/domain/HeldKeys"
import type { KeyRotationError } from "@valetkey/domain/KeyRotation"
import type { ProxyRefused } from "@valetkey/domain/ResourceProxy"
import type { ResourceError } from "@valetkey/domain/ResourceServer"
import type { RevocationNotFound } from "@valetkey/domain/Revocations"
import type { TenantDeleted, TenantDeleting } from "@valetkey/domain/Tenants"

/** Every error that a use case may give to the HTTP boundary. */
export type DomainError =
  | AccessTokenError
  | ApiKeyNotFound
  | CallbackRejected
  | CallbackUrlError
  | CompletionCodeInvalid
  | DepositConflict
  | DestinationRefused
  | ExportRefused
  | FlowNotFound
  | FlowNotReady
  | HandOffError
  | KeyRotationError
  | KeysManagedElsewhere
  | ProxyRefused
  | RecipientInvalid
  | ResourceError
  | RevocationNotFound
  | StartError
  | TenantDeleted
  | TenantDeleting
  | TokenRefused

/** Codes of the errors that the HTTP boundary itself makes. */
export type BoundaryCode =
  | "authentication_unavailable"
  | "console_port_unavailable"
  | "deposit_refused"
  | "forbidden"
  | "host_refused"
  | "internal"
  | "invalid_request"
  | "method_refused"
  | "not_found"
  | "origin_refused"
  | "payload_too_large"
  | "resource_response_refused"
  | "token_not_handed_out"
  | "unauthorized"
  | "unsupported_media_type"

/** Every stable code that a response may carry. */
export type ErrorCode = DomainError["code"] | BoundaryCode

/** The HTTP status of every code. A code without a row does not compile. */
export const errorStatus = {
  access_token_refused: 503,
  api_key_not_found: 404,
  archive_too_large: 413,
  authentication_unavailable: 503,
  authorization_server_unavailable: 503,
  authorization_server_unreachable: 502,
  callback_malformed: 400,
  callback_port_unavailable: 503,
  callback_unknown: 404,
  callback_url_invalid: 422,
  callback_url_late: 409,
  callback_url_mismatch: 422,
  callback_url_unexpected: 409,
  client_misconfigured: 409,
  client_secret_missing: 422,
  completion_code_invalid: 403,
  connection_exists: 409,
  connection_not_found: 404,
  connection_quarantined: 503,
  console_port_unavailable: 503,
  deposit_refused: 422,
  device_refused: 502,
  authorization_request_refused: 502,
  client_refused: 502,
  device_unconfirmable: 422,
  device_unsupported: 422,
  egress_refused: 422,
  authorization_server_moved: 409,
  encryption_key_mismatch: 503,
  encryption_key_missing: 503,
  encryption_key_unavailable: 503,
  flow_conflict: 409,
  flow_not_found: 404,
  flow_not_ready: 409,
  flow_preempted: 409,
  forbidden: 403,
  generation_mismatch: 412,
  handoff_early: 409,
  handoff_late: 409,
  handoff_unexpected: 409,
  host_refused: 421,
  instance_mismatch: 503,
  identity_required: 409,
  insufficient_scope: 403,
  integrity_error: 500,
  internal: 500,
  invalid_request: 400,
  issuer_mismatch: 502,
  key_in_use: 409,
  key_not_found: 404,
  key_not_held: 409,
  key_retired: 409,
  keys_managed_elsewhere: 409,
  metadata_invalid: 502,
  method_refused: 405,
  not_found: 404,
  nothing_to_export: 409,
  origin_refused: 403,
  path_refused: 400,
  payload_too_large: 413,
  pkce_unsupported: 422,
  proxy_busy: 429,
  public_url_missing: 422,
  query_refused: 400,
  reauthorization_required: 409,
  recipient_invalid: 422,
  refresh_in_progress: 503,
  registration_refused: 502,
  registration_unsupported: 422,
  request_not_replayed: 503,
  resource_changed: 409,
  resource_interrupted: 502,
  resource_response_refused: 502,
  resource_timeout: 504,
  resource_unreachable: 502,
  return_url_missing: 422,
  return_url_unexpected: 422,
  return_url_unregistered: 422,
  revocation_not_found: 404,
  server_not_found: 404,
  signed_response_unsupported: 422,
  store_corrupt: 500,
  store_locked: 503,
  store_unavailable: 503,
  tenant_deleted: 410,
  tenant_deleting: 409,
  token_not_handed_out: 403,
  token_refused: 502,
  transport_unavailable: 422,
  unauthorized: 401,
  unsupported_media_type: 415,
  workload_token_missing: 503
} as const satisfies Record<ErrorCode, number>

/** The statuses of the table. */
export type ErrorStatus = (typeof errorStatus)[ErrorCode]

/** The codes of the table. */
export const errorCodes = Object.keys(errorStatus) as [ErrorCode, ...Array<ErrorCode>]
