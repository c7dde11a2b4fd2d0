import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport, StreamableHTTPError } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import type { FetchLike, Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import { Effect, Redacted, Schema } from "effect"

/** The MCP server refused the call or did not answer it; `status` is the HTTP status when there was one. */
export class McpCallFailed
  extends Schema.TaggedError<McpCallFailed>("valetkey/testing/McpCallFailed")("McpCallFailed", {
    status: Schema.optionalKey(Schema.Number),
    cause: Schema.Defect()
  })
{
  override get message() {
    return `The MCP call failed${this.status === undefined ? "" : ` with status ${this.status}`}`
  }
}

/** Whose token the server saw. */
export interface Identity {
  readonly sub: string
  readonly clientId: string
  readonly scopes: ReadonlyArray<string>
}

/** Calls the `whoami` tool of an MCP server with the given bearer token, or through a `fetch` that adds one. */
export const whoami = (
  url: string,
  options: { readonly token?: string | Redacted.Redacted; readonly fetch?: FetchLike }
): Effect.Effect<Identity, McpCallFailed> =>
  Effect.tryPromise({
    try: async () => {
      const client = new Client({ name: "mcp-client", version: "1.0.0" })
      const { token } = options
      const bearer = token === undefined || typeof token === "string" ? token : Redacted.value(token)
      const transport = new StreamableHTTPClientTransport(new URL(url), {
        ...(bearer === undefined ? {} : { requestInit: { headers: { authorization: `Bearer ${bearer}` } } }),
        ...(options.fetch === undefined ? {} : { fetch: options.fetch })
      })
      try {
        await client.connect(transport as Transport)
        const { content } = await client.callTool({ name: "whoami", arguments: {} })
        const [first] = content as ReadonlyArray<{ readonly text: string }>
        return JSON.parse(first?.text ?? "null") as Identity
      } finally {
        await client.close()
      }
    },
    catch: (cause) =>
      new McpCallFailed({
        cause,
        ...(cause instanceof StreamableHTTPError && cause.code !== undefined ? { status: cause.code } : {})
      })
  })
