import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport, StreamableHTTPError } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import type { FetchLike, Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import { Effect, Redacted, Schema, type Scope } from "effect"

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

/** How a client shows who it is: with a bearer token, with headers, or through a `fetch` that adds something. */
export interface SessionOptions {
  readonly token?: string | Redacted.Redacted | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly fetch?: FetchLike | undefined
}

/** A connected client of the official SDK. */
export interface Session {
  /** Calls the `whoami` tool. */
  readonly whoami: Effect.Effect<Identity, McpCallFailed>
  /** Calls the `report` tool; `progressed` runs when the server tells of its progress. */
  report(progressed: () => void): Effect.Effect<string, McpCallFailed>
}

/** Connects a client until the scope closes. */
export const open = (url: string, options: SessionOptions): Effect.Effect<Session, McpCallFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => new Client({ name: "mcp-client", version: "1.0.0" })),
      (client) => Effect.promise(() => client.close())
    )
    const bearer = options.token === undefined || typeof options.token === "string"
      ? options.token
      : Redacted.value(options.token)
    const headers = { ...options.headers, ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) }
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers },
      ...(options.fetch === undefined ? {} : { fetch: options.fetch })
    })
    yield* attempt(() => client.connect(transport as Transport))
    const textOf = (result: unknown) =>
      (result as { readonly content: ReadonlyArray<{ readonly text: string }> }).content[0]?.text ?? "null"
    return {
      whoami: Effect.map(
        attempt(() => client.callTool({ name: "whoami", arguments: {} })),
        (result) => JSON.parse(textOf(result)) as Identity
      ),
      report: (onprogress) =>
        Effect.map(
          attempt(() => client.callTool({ name: "report", arguments: {} }, undefined, { onprogress })),
          textOf
        )
    }
  })

/** Calls the `whoami` tool of an MCP server in a session of its own. */
export const whoami = (url: string, options: SessionOptions): Effect.Effect<Identity, McpCallFailed> =>
  Effect.scoped(Effect.flatMap(open(url, options), (session) => session.whoami))

const attempt = <A>(call: () => Promise<A>): Effect.Effect<A, McpCallFailed> =>
  Effect.tryPromise({
    try: call,
    catch: (cause) =>
      new McpCallFailed({
        cause,
        ...(cause instanceof StreamableHTTPError && cause.code !== undefined ? { status: cause.code } : {})
      })
  })
