import { InMemoryEventStore } from "@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js"
import type { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js"
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import type { Request, Response } from "express"
import { randomUUID } from "node:crypto"

/** Answers one request by a server of its own. */
export const stateless = async (serve: () => McpServer, request: Request, response: Response): Promise<void> => {
  const server = serve()
  const transport = new StreamableHTTPServerTransport({})
  response.once("close", () => void Promise.allSettled([transport.close(), server.close()]))
  await server.connect(transport as Transport)
  await transport.handleRequest(request, response, request.body)
}

/** Servers that each belong to a session, and whose streams can be resumed. */
export const mcpSessions = (serve: () => McpServer) => {
  const open = new Map<string, { readonly server: McpServer; readonly transport: StreamableHTTPServerTransport }>()
  let ended = 0
  let listening = 0
  return {
    open: () => open.size,
    ended: () => ended,
    listening: () => listening,
    forget: () => {
      const all = [...open.values()]
      open.clear()
      for (const { server, transport } of all) void Promise.allSettled([transport.close(), server.close()])
    },
    announce: (tool: string) => {
      for (const { server } of open.values()) {
        server.registerTool(tool, { inputSchema: {} }, () => ({ content: [{ type: "text", text: tool }] }))
      }
    },
    handle: async (request: Request, response: Response): Promise<void> => {
      const id = request.header("mcp-session-id")
      if (id !== undefined) {
        const session = open.get(id)
        if (session === undefined) {
          const error = { code: -32001, message: "Session not found" }
          return void response.status(404).json({ jsonrpc: "2.0", id: null, error })
        }
        const handled = session.transport.handleRequest(request, response, request.body)
        if (request.method === "GET") {
          listening++
          response.once("close", () => listening--)
        }
        return handled
      }
      const server = serve()
      const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new InMemoryEventStore(),
        retryInterval: 10,
        onsessioninitialized: (made) => void open.set(made, { server, transport }),
        onsessionclosed: (closed) => {
          if (open.delete(closed)) ended++
        }
      })
      await server.connect(transport as Transport)
      await transport.handleRequest(request, response, request.body)
    }
  }
}
