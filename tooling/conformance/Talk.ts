import { Client, type FetchLike, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"

/** What every scenario wants of a client: connect, list the tools, call one. A scenario without that tool says so. */
export const talk = async (url: string, fetch: FetchLike): Promise<void> => {
  const client = new Client(
    { name: "valetkey-conformance", version: "1.0.0" },
    { capabilities: {}, versionNegotiation: { mode: "auto" } }
  )
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch }))
  try {
    await client.listTools()
    await client.callTool({ name: "test-tool", arguments: {} }).catch((error: unknown) => {
      if (!/unknown tool|not found/i.test(String(error))) throw error
    })
  } finally {
    await client.close()
  }
}

/** Plays the person and the browser: the suite's authorization servers consent at once and redirect. */
export const consent = async (url: string): Promise<void> => {
  const answer = await fetch(url, { redirect: "manual" })
  const location = answer.headers.get("location")
  if (location === null) throw new Error(`The authorization endpoint answered with ${answer.status} and no redirect`)
  await fetch(location)
}
