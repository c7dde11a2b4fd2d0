import { Schema } from "effect"

const sentences = {
  resource_unreachable: "The MCP server cannot be reached; try again when it runs",
  resource_interrupted:
    "The MCP server broke off before it answered, and may have done what it was asked; look before you ask again",
  resource_response_refused: "The MCP server refused the request or its answer is no MCP",
  session_lost: "The MCP server lost the session and gives no other; restart the MCP client",
  protocol_changed: "The MCP server came back with another protocol version; restart the MCP client",
  request_id_in_use: "A request with this id waits for its answer; choose another id",
  too_many_requests: "Too many requests wait for their answers; wait for some of them"
} as const

/** Error of a relayed request that got no answer of the MCP server. */
export class RelayFailure extends Schema.TaggedError<RelayFailure>("valetkey/mcp/RelayFailure")("RelayFailure", {
  code: Schema.Literals([
    "resource_unreachable",
    "resource_interrupted",
    "resource_response_refused",
    "session_lost",
    "protocol_changed",
    "request_id_in_use",
    "too_many_requests"
  ]),
  /** The HTTP status, where there was one. */
  status: Schema.optionalKey(Schema.Int)
}) {
  override get message() {
    return `${sentences[this.code]}${this.status === undefined ? "" : ` (HTTP ${this.status})`}`
  }
}
