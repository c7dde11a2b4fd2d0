import { ApiProblem } from "@valetkey/api/ApiProblem"
import { Schema } from "effect"
import { unexpected, unreachable } from "./Sentences.ts"

/** Error of a server that gave no answer: nobody listens, the connection broke, or nothing came in time. */
export class Unreachable extends Schema.TaggedError<Unreachable>("valetkey/client/Unreachable")("Unreachable", {
  /** The URL or socket that was tried. */
  address: Schema.String,
  reason: Schema.Literals(["not_running", "not_ours", "disconnected", "timeout"])
}) {
  readonly code = "server_unreachable"
  override get message() {
    return unreachable(this.reason, this.address)
  }
}

/** Error of an answer that is not what the contract says: another program, a proxy's page, or another version. */
export class UnexpectedResponse
  extends Schema.TaggedError<UnexpectedResponse>("valetkey/client/UnexpectedResponse")("UnexpectedResponse", {
    address: Schema.String,
    /** Absent when it was no HTTP at all. */
    status: Schema.optionalKey(Schema.Int)
  })
{
  readonly code = "unexpected_response"
  override get message() {
    return unexpected(this.address, this.status)
  }
}

/** Every error of the client: the server's own problem, or the way to it. */
export type ClientError = ApiProblem | Unreachable | UnexpectedResponse

/** Whether trying again may help without anybody doing something: the way broke, or the server says so. */
export const isTransient = (error: ClientError): boolean =>
  error._tag === "Unreachable"
    ? error.reason !== "not_ours"
    : error._tag === "UnexpectedResponse"
    ? error.status === 502 || error.status === 503 || error.status === 504
    : error.status === 503 && error.retryAfterSeconds !== undefined

export { ApiProblem }
