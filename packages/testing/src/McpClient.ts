import type { OAuthClientProvider } from "@modelcontextprotocol/sdk/client/auth.js"
import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js"
import { StreamableHTTPClientTransport, StreamableHTTPError } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import type { FetchLike, Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js"
import { Effect, Queue, Redacted, Schema, type Scope } from "effect"

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
  readonly authProvider?: OAuthClientProvider | undefined
}

/** A connected client of the official SDK. */
export interface Session {
  /** Calls the `whoami` tool. */
  readonly whoami: Effect.Effect<Identity, McpCallFailed>
  /** Calls the `report` tool; `progressed` runs when the server tells of its progress. */
  report(progressed: () => void, signal?: AbortSignal): Effect.Effect<string, McpCallFailed>
  /** Names of the tools, in order. */
  readonly tools: Effect.Effect<ReadonlyArray<string>, McpCallFailed>
  /** Waits until the server has told once more that its tools are others. */
  readonly toolsChanged: Effect.Effect<void>
}

/** A program that serves an MCP client over its stdin and stdout. */
export interface Program {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string | undefined>>
  /** Takes what it writes to stderr. */
  readonly talk?: ((text: string) => void) | undefined
}

/** Connects a client until the scope closes. */
export const open = (url: string, options: SessionOptions): Effect.Effect<Session, McpCallFailed, Scope.Scope> =>
  Effect.suspend(() => {
    const bearer = options.token === undefined || typeof options.token === "string"
      ? options.token
      : Redacted.value(options.token)
    const headers = { ...options.headers, ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) }
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers },
      ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
      ...(options.authProvider === undefined ? {} : { authProvider: options.authProvider })
    })
    return connect(transport as Transport)
  })

/** Connects a client to a program that it starts, until the scope closes. */
export const openProgram = (
  { args, command, env, talk }: Program
): Effect.Effect<Session, McpCallFailed, Scope.Scope> =>
  Effect.suspend(() => {
    const transport = new StdioClientTransport({
      command,
      args: [...args],
      env: Object.fromEntries(
        Object.entries(env).flatMap(([name, value]) => value === undefined ? [] : [[name, value]])
      ),
      stderr: "pipe"
    })
    transport.stderr?.on("data", (chunk) => talk?.(String(chunk)))
    return connect(transport)
  })

const connect = (transport: Transport): Effect.Effect<Session, McpCallFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const changes = yield* Queue.unbounded<void>()
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => new Client({ name: "mcp-client", version: "1.0.0" })),
      (client) => Effect.promise(() => client.close())
    )
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void Queue.offerUnsafe(changes, undefined))
    yield* attempt(() => client.connect(transport))
    const textOf = (result: unknown) =>
      (result as { readonly content: ReadonlyArray<{ readonly text: string }> }).content[0]?.text ?? "null"
    return {
      whoami: Effect.map(
        attempt(() => client.callTool({ name: "whoami", arguments: {} })),
        (result) => JSON.parse(textOf(result)) as Identity
      ),
      report: (onprogress, signal) =>
        Effect.map(
          attempt(() =>
            client.callTool({ name: "report", arguments: {} }, undefined, {
              onprogress,
              ...(signal === undefined ? {} : { signal })
            })
          ),
          textOf
        ),
      tools: Effect.map(attempt(() => client.listTools()), ({ tools }) => tools.map(({ name }) => name)),
      toolsChanged: Queue.take(changes)
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
