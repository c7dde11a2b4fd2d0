import { Schema } from "effect"

/** Codes of what only the command itself can find wrong. */
export const CliCode = Schema.Literals([
  "audit_chain_broken",
  "browser_unavailable",
  "command_not_started",
  "doctor_found_problems",
  "flow_cancelled",
  "flow_expired",
  "flow_outcome_unknown",
  "flow_superseded",
  "interrupted",
  "name_taken",
  "rewrap_incomplete",
  "server_not_started",
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
