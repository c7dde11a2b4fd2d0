import type { ErrorCode } from "@valetkey/api/ErrorStatus"
import type { FlowView } from "@valetkey/api/FlowsApi"
import type { ClientError } from "@valetkey/client/ClientError"
import type { CliCode } from "./CliFailure.ts"

/** Every code that a command may end with. */
export type Code = CliCode | ErrorCode | Exclude<ClientError["code"], ErrorCode> | FlowFailureCode

/** Codes of a flow that ended without a connection. */
export type FlowFailureCode = NonNullable<FlowView["failure"]>["code"]

/** The exit codes of the command. They are part of its contract. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  usage: 2,
  unreachable: 3,
  reauthorization: 4,
  timedOut: 5,
  interrupted: 130
} as const

/** The exit code of every code. A code without a row does not compile. */
export const exitCode = {
  access_denied: ExitCode.failure,
  api_key_not_found: ExitCode.failure,
  audit_chain_broken: ExitCode.failure,
  authentication_unavailable: ExitCode.failure,
  authorization_refused: ExitCode.failure,
  authorization_server_unavailable: ExitCode.failure,
  authorization_server_unreachable: ExitCode.failure,
  browser_unavailable: ExitCode.failure,
  callback_malformed: ExitCode.failure,
  callback_port_unavailable: ExitCode.failure,
  callback_unknown: ExitCode.failure,
  client_misconfigured: ExitCode.failure,
  code_rejected: ExitCode.failure,
  command_not_started: ExitCode.failure,
  completion_code_invalid: ExitCode.failure,
  connection_exists: ExitCode.failure,
  connection_not_found: ExitCode.failure,
  connection_quarantined: ExitCode.failure,
  deposit_refused: ExitCode.failure,
  doctor_found_problems: ExitCode.failure,
  egress_refused: ExitCode.failure,
  encryption_key_mismatch: ExitCode.failure,
  encryption_key_missing: ExitCode.failure,
  encryption_key_unavailable: ExitCode.failure,
  flow_cancelled: ExitCode.failure,
  flow_conflict: ExitCode.failure,
  flow_expired: ExitCode.timedOut,
  flow_not_found: ExitCode.failure,
  flow_not_ready: ExitCode.failure,
  flow_outcome_unknown: ExitCode.failure,
  flow_preempted: ExitCode.failure,
  flow_superseded: ExitCode.failure,
  forbidden: ExitCode.failure,
  generation_mismatch: ExitCode.failure,
  host_refused: ExitCode.failure,
  instance_mismatch: ExitCode.failure,
  integrity_error: ExitCode.failure,
  internal: ExitCode.failure,
  interrupted: ExitCode.interrupted,
  invalid_request: ExitCode.failure,
  issuer_mismatch: ExitCode.failure,
  key_in_use: ExitCode.failure,
  key_not_found: ExitCode.failure,
  key_not_held: ExitCode.failure,
  key_retired: ExitCode.failure,
  keys_managed_elsewhere: ExitCode.failure,
  malformed_response: ExitCode.failure,
  metadata_invalid: ExitCode.failure,
  name_taken: ExitCode.failure,
  not_found: ExitCode.failure,
  origin_refused: ExitCode.failure,
  payload_too_large: ExitCode.failure,
  pkce_unsupported: ExitCode.failure,
  public_url_missing: ExitCode.failure,
  reauthorization_required: ExitCode.reauthorization,
  refresh_in_progress: ExitCode.timedOut,
  registration_refused: ExitCode.failure,
  registration_unsupported: ExitCode.failure,
  resource_unreachable: ExitCode.failure,
  return_url_missing: ExitCode.failure,
  return_url_unexpected: ExitCode.failure,
  return_url_unregistered: ExitCode.failure,
  rewrap_incomplete: ExitCode.failure,
  server_not_found: ExitCode.failure,
  server_not_started: ExitCode.unreachable,
  server_unreachable: ExitCode.unreachable,
  start_failed: ExitCode.failure,
  storage_failed: ExitCode.failure,
  store_corrupt: ExitCode.failure,
  store_locked: ExitCode.failure,
  store_unavailable: ExitCode.failure,
  token_response_invalid: ExitCode.failure,
  transport_unavailable: ExitCode.failure,
  unauthorized: ExitCode.failure,
  unexpected_response: ExitCode.failure,
  unsupported_media_type: ExitCode.failure,
  usage: ExitCode.usage
} as const satisfies Record<Code, number>

/** The exit code of a code that a newer server may have made up. */
export const exitCodeOf = (code: string): number =>
  Object.hasOwn(exitCode, code) ? exitCode[code as Code] : ExitCode.failure
