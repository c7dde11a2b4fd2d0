import { Schema } from "effect"
import { plain } from "./Output.ts"

/** Codes of what only the command itself can find wrong. */
export const CliCode = Schema.Literals([
  "archive_damaged",
  "archive_empty",
  "archive_invalid",
  "archive_too_large",
  "archive_unknown",
  "archive_unreadable",
  "archive_version_unknown",
  "audit_chain_broken",
  "browser_unavailable",
  "client_needed",
  "command_not_started",
  "doctor_found_problems",
  "flow_cancelled",
  "flow_expired",
  "flow_outcome_unknown",
  "flow_superseded",
  "host_unexpected",
  "identity_invalid",
  "identity_wrong",
  "import_incomplete",
  "interrupted",
  "move_incomplete",
  "name_taken",
  "output_exists",
  "output_not_written",
  "passphrase_short",
  "passphrase_wrong",
  "preset_invalid",
  "preset_not_found",
  "preset_parameter",
  "probe_found_problems",
  "race_found_problems",
  "rewrap_incomplete",
  "secret_not_private",
  "secret_unreadable",
  "server_not_started",
  "service_foreign",
  "service_manager_failed",
  "service_not_written",
  "service_server_running",
  "service_unsupported",
  "simulator_not_started",
  "simulator_unreachable",
  "source_changed",
  "source_in_use",
  "source_invalid",
  "source_not_found",
  "source_not_marked",
  "token_unprintable",
  "usage"
])
export type CliCode = typeof CliCode.Type

/** Error of a command, with the sentence that a person reads. */
export class CliFailure extends Schema.TaggedError<CliFailure>("valetkey/cli/CliFailure")("CliFailure", {
  /** A code of the command, of the server, or of a flow. */
  code: Schema.String,
  sentence: Schema.String,
  /** What the JSON document says besides. */
  details: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  /** Whether asking again may help without anybody doing something. */
  transient: Schema.optionalKey(Schema.Boolean)
}) {
  override get message() {
    return this.sentence
  }
}

/** Makes the error of one of the command's own codes. */
export const failure = (code: CliCode, sentence: string, details?: Readonly<Record<string, unknown>>): CliFailure =>
  new CliFailure({ code, sentence, ...(details === undefined ? {} : { details }) })

/** The same error with another sentence. */
export const reworded = ({ code, details }: CliFailure, sentence: string): CliFailure =>
  new CliFailure({ code, sentence, ...(details === undefined ? {} : { details }) })

/** What a person reads: the sentence, and a line for each fault that a server found in a request. What was sent is no part of it. */
export const textOf = ({ details, message }: CliFailure): string =>
  [plain(message), ...faultsOf(details?.["errors"])].join("\n")

const faultsOf = (errors: unknown): ReadonlyArray<string> =>
  (Array.isArray(errors) ? errors : []).flatMap((fault) => {
    const { message, path } = (fault ?? {}) as { readonly message?: unknown; readonly path?: unknown }
    return typeof message === "string" && Array.isArray(path) ? [`  ${plain(`${path.join(".")}: ${message}`)}`] : []
  })
