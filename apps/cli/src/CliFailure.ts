import type { ApiProblem } from "@valetkey/api/ApiProblem"
import type { ClientError } from "@valetkey/client/ClientError"
import { Schema } from "effect"

/** Codes of what only the command itself can find wrong. */
export const CliCode = Schema.Literals([
  "browser_unavailable",
  "command_not_started",
  "doctor_found_problems",
  "flow_cancelled",
  "flow_expired",
  "flow_outcome_unknown",
  "flow_superseded",
  "interrupted",
  "name_taken",
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
  details: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
}) {
  override get message() {
    return this.sentence
  }
}

/** Makes the error of one of the command's own codes. */
export const failure = (code: CliCode, sentence: string, details?: Readonly<Record<string, unknown>>): CliFailure =>
  new CliFailure({ code, sentence, ...(details === undefined ? {} : { details }) })

/** What a client error is to the person at the terminal: the server's own safe sentence, and where to go from here. */
export const fromClient = (error: ClientError): CliFailure =>
  new CliFailure({
    code: error.code,
    sentence: error._tag === "ApiProblem" ? error.detail : error.message,
    ...(error._tag === "ApiProblem" ? { details: detailsOf(error) } : {})
  })

/** The same error with another sentence. */
export const reworded = ({ code, details }: CliFailure, sentence: string): CliFailure =>
  new CliFailure({ code, sentence, ...(details === undefined ? {} : { details }) })

const detailsOf = (problem: ApiProblem): Readonly<Record<string, unknown>> => ({
  ...(problem.correlationId === undefined ? {} : { correlationId: problem.correlationId }),
  ...(problem.errors === undefined ? {} : { errors: problem.errors }),
  ...(problem.reason === undefined ? {} : { reason: problem.reason }),
  ...(problem.running === undefined ? {} : { running: problem.running }),
  ...(problem.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: problem.retryAfterSeconds })
})
