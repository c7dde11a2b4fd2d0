import { isRecord, member, type Message } from "./rpc.ts"

/** The revision that a message without a session says it is written in. */
export const revisionOf = ({ params }: Message): string | undefined => {
  const revision = member(member(params, "_meta"), "io.modelcontextprotocol/protocolVersion")
  return typeof revision === "string" && /^[\w.-]{1,64}$/.test(revision) ? revision : undefined
}

/** Names of the headers that parameters of a tool travel in besides, by the path of the parameter. */
export type Routes = ReadonlyMap<string, ReadonlyArray<readonly [header: string, path: ReadonlyArray<string>]>>

/** What a list of tools says of headers. */
export const routesOf = (result: unknown): Routes => {
  const tools = member(result, "tools")
  return new Map(
    (Array.isArray(tools) ? tools : []).flatMap((tool: unknown) => {
      const name = member(tool, "name")
      return typeof name === "string" ? [[name, annotated(member(tool, "inputSchema"), [])] as const] : []
    })
  )
}

/**
 * The headers by which the revisions without sessions let a message be routed without reading it.
 *
 * @see MCP 2026-07-28, Streamable HTTP, "Standard Request Headers" and "Custom Headers from Tool Parameters"
 */
export const routingHeaders = (message: Message, revision: string, routes: Routes): Record<string, string> => {
  const { method = "", params } = message
  const headers: Record<string, string> = { "mcp-protocol-version": revision, "mcp-method": method }
  const name = member(params, method === "resources/read" ? "uri" : "name")
  if (typeof name === "string" && ["tools/call", "prompts/get", "resources/read"].includes(method)) {
    headers["mcp-name"] = encoded(name)
  }
  if (method !== "tools/call" || typeof name !== "string") return headers
  for (const [header, path] of routes.get(name) ?? []) {
    const value = path.reduce(member, member(params, "arguments"))
    if (["string", "number", "boolean"].includes(typeof value)) headers[`mcp-param-${header}`] = encoded(String(value))
  }
  return headers
}

const annotated = (
  schema: unknown,
  path: ReadonlyArray<string>
): ReadonlyArray<readonly [string, ReadonlyArray<string>]> => {
  const header = member(schema, "x-mcp-header")
  const own = typeof header === "string" && path.length > 0 && /^[!#$%&'*+\-.^_`|~\w]{1,64}$/.test(header)
    ? [[header.toLowerCase(), path] as const]
    : []
  const properties = member(schema, "properties")
  if (!isRecord(properties) || path.length > 16) return own
  return [...own, ...Object.entries(properties).flatMap(([name, below]) => annotated(below, [...path, name]))]
}

/** What is no plain visible ASCII goes as Base64 between marks. */
const encoded = (value: string): string =>
  /^[\x20-\x7e]*$/.test(value) && value.trim() === value && !/^=\?base64\?.*\?=$/.test(value)
    ? value
    : `=?base64?${Buffer.from(value).toString("base64")}?=`
