import { InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js"
import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js"
import {
  getOAuthProtectedResourceMetadataUrl,
  mcpAuthMetadataRouter
} from "@modelcontextprotocol/sdk/server/auth/router.js"
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js"
import type { OAuthMetadata } from "@modelcontextprotocol/sdk/shared/auth.js"
import { Effect, Redacted, type Scope } from "effect"
import express from "express"
import { z } from "zod"
import * as Fingerprint from "./Fingerprint.ts"
import { mcpSessions, stateless } from "./internal/mcpSessions.ts"
import { listen } from "./LoopbackServer.ts"

/** What {@link make} guards the server with: an `OidcProvider`, or anything with these two members. */
export interface Issuer {
  readonly issuer: string
  readonly introspection: { readonly clientId: string; readonly clientSecret: Redacted.Redacted }
}

/** A running protected MCP server and what it saw. */
export interface McpResource {
  /** Resource URL: the MCP endpoint. */
  readonly url: string
  /** Requests refused with 401. */
  readonly unauthorized: () => number
  /** Requests that passed the token check. */
  readonly authorized: () => number
  /** Calls of the `whoami` tool. */
  readonly calls: () => number
  /** Fingerprints of the tokens that arrived, in order. */
  readonly tokens: ReadonlyArray<Fingerprint.Fingerprint>
  /** Lets the `report` tool answer, which told of its progress before. */
  readonly release: () => void
  /** Breaks off the streams on which answers of `report` are waited for; they can be resumed in a server with sessions. */
  readonly breakOff: () => void
  /** Calls of the `report` tool that the client gave up. */
  readonly cancelled: () => number
  /** Fails the next requests with 401 whatever their token. */
  readonly rejectNext: (requests: number) => void
  /** Sessions that are open, where the server has any. */
  readonly sessions: () => number
  /** Streams on which clients listen to what the server says of its own accord. */
  readonly listening: () => number
  /** Sessions that their client ended. */
  readonly ended: () => number
  /** Forgets every session, as a server does that ends. */
  readonly forget: () => void
  /** Gives every open session another tool, which it tells its client of. */
  readonly announce: (tool: string) => void
}

/**
 * Starts an MCP server of the official SDK (streamable HTTP, tools `whoami` and `report`) on 127.0.0.1 until the scope closes.
 * It is stateless unless it is to have sessions, which come with notifications and with streams that can be resumed.
 *
 * It introspects each token at the issuer, refuses a token for another audience, and serves its metadata and challenges.
 *
 * @see RFC 9728 section 3 and 5.1
 */
export const make = (
  issuer: Issuer,
  options: { readonly port?: number; readonly scopes?: ReadonlyArray<string>; readonly sessions?: boolean } = {}
): Effect.Effect<McpResource, never, Scope.Scope> =>
  Effect.gen(function*() {
    const app = express()
    const { origin } = yield* listen(app, options.port)
    const url = new URL("/mcp", origin)
    const scopes = [...options.scopes ?? ["mcp:read"]]
    const oauthMetadata = yield* Effect.promise(async () =>
      await (await fetch(`${issuer.issuer}/.well-known/oauth-authorization-server`)).json() as OAuthMetadata
    )
    const tokens: Array<Fingerprint.Fingerprint> = []
    let unauthorized = 0
    let authorized = 0
    let calls = 0
    let rejections = 0
    let cancelled = 0
    const reports: Array<{ readonly release: () => void; readonly breakOff: () => void }> = []

    const guard = requireBearerAuth({
      requiredScopes: scopes,
      resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(url),
      verifier: {
        verifyAccessToken: async (token) => {
          tokens.push(Fingerprint.of(token))
          if (rejections > 0) {
            rejections--
            throw new InvalidTokenError("Token was refused on request of the test")
          }
          return verify(token, url, oauthMetadata, issuer)
        }
      }
    })
    app.use(mcpAuthMetadataRouter({ oauthMetadata, resourceServerUrl: url, scopesSupported: scopes }))
    const serve = () => {
      const server = new McpServer({ name: "mcp-resource", version: "1.0.0" })
      server.registerTool(
        "whoami",
        { description: "Tells whose token this is", inputSchema: { note: z.string().optional() } },
        (_, { authInfo }) => {
          calls++
          const who = { sub: authInfo?.extra?.["sub"], clientId: authInfo?.clientId, scopes: authInfo?.scopes }
          return { content: [{ type: "text", text: JSON.stringify(who) }] }
        }
      )
      server.registerTool(
        "report",
        { description: "Tells of its progress and answers when it is released", inputSchema: {} },
        async (_, { _meta, closeSSEStream, sendNotification, signal }) => {
          calls++
          const released = new Promise<void>((release) => reports.push({ release, breakOff: () => closeSSEStream?.() }))
          signal.addEventListener("abort", () => cancelled++)
          await sendNotification({
            method: "notifications/progress",
            params: { progressToken: _meta?.progressToken ?? 0, progress: 1 }
          })
          await released
          return { content: [{ type: "text", text: "reported" }] }
        }
      )
      return server
    }
    const held = mcpSessions(serve)
    yield* Effect.addFinalizer(() => Effect.sync(held.forget))
    const count: express.RequestHandler = (_, response, next) => {
      response.once("finish", () => {
        if (response.statusCode === 401) unauthorized++
      })
      next()
    }
    const handle: express.RequestHandler = (request, response) => {
      authorized++
      return options.sessions === true ? held.handle(request, response) : stateless(serve, request, response)
    }
    app.post("/mcp", count, express.json(), guard, handle)
    if (options.sessions === true) {
      app.get("/mcp", guard, held.handle)
      app.delete("/mcp", guard, held.handle)
    }
    app.all("/mcp", (_, response) => void response.status(405).end())

    return {
      url: url.href,
      unauthorized: () => unauthorized,
      authorized: () => authorized,
      calls: () => calls,
      tokens,
      release: () => reports.splice(0).forEach((report) => report.release()),
      breakOff: () => reports.forEach((report) => report.breakOff()),
      cancelled: () => cancelled,
      sessions: held.open,
      ended: held.ended,
      listening: held.listening,
      forget: held.forget,
      announce: held.announce,
      rejectNext: (requests) => {
        rejections = requests
      }
    }
  })

interface Introspection {
  readonly active: boolean
  readonly client_id?: string
  readonly scope?: string
  readonly exp?: number
  readonly sub?: string
  readonly aud?: string | ReadonlyArray<string>
}

const verify = async (token: string, url: URL, metadata: OAuthMetadata, issuer: Issuer) => {
  const { clientId, clientSecret } = issuer.introspection
  const response = await fetch(metadata.introspection_endpoint ?? "", {
    method: "POST",
    headers: {
      authorization: `Basic ${Buffer.from(`${clientId}:${Redacted.value(clientSecret)}`).toString("base64")}`
    },
    body: new URLSearchParams({ token })
  })
  const answer = await response.json() as Introspection
  if (!answer.active) throw new InvalidTokenError("Token is not active")
  if (answer.aud !== undefined && ![answer.aud].flat().includes(url.href)) {
    throw new InvalidTokenError("Token is for another resource")
  }
  return {
    token,
    clientId: answer.client_id ?? "",
    scopes: (answer.scope ?? "").split(" ").filter((scope) => scope !== ""),
    ...(answer.exp === undefined ? {} : { expiresAt: answer.exp }),
    extra: { sub: answer.sub }
  }
}
