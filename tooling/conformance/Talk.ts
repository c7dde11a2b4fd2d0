import {
  Client,
  type FetchLike,
  type OAuthClientProvider,
  StreamableHTTPClientTransport,
  UnauthorizedError
} from "@modelcontextprotocol/client"

/** What every scenario wants of a client: connect, list the tools, call one. A scenario without that tool says so. */
export const talk = async (url: string, fetch: FetchLike): Promise<void> => {
  const client = newClient()
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch }))
  try {
    await client.listTools()
    await call(client)
  } finally {
    await client.close()
  }
}

/** A provider whose person has consented, and may be asked again. */
export interface Person extends OAuthClientProvider {
  /** The authorization response that waits to be used; given once. */
  takeCallback(): URLSearchParams | undefined
}

/** The same with the SDK's own authorization: whenever it asks for a person, one consents and the step is taken again. */
export const talkAsPerson = async (url: string, authProvider: OAuthClientProvider | Person): Promise<void> => {
  const client = newClient()
  let transport = new StreamableHTTPClientTransport(new URL(url), { authProvider })
  let consents = 0
  const insist = async (step: () => Promise<unknown>): Promise<void> => {
    while (true) {
      try {
        await step()
        return
      } catch (error) {
        const callback = "takeCallback" in authProvider ? authProvider.takeCallback() : undefined
        if (!(error instanceof UnauthorizedError) || callback === undefined || consents++ === maxConsents) throw error
        await transport.finishAuth(callback)
      }
    }
  }
  await insist(async () => {
    transport = new StreamableHTTPClientTransport(new URL(url), { authProvider })
    await client.connect(transport)
  })
  await insist(() => client.listTools())
  await insist(() => call(client))
  await client.close()
}

/** As often as a person would put up with it in one conversation. */
const maxConsents = 2

const newClient = () =>
  new Client(
    { name: "valetkey-conformance", version: "1.0.0" },
    { capabilities: {}, versionNegotiation: { mode: "auto" } }
  )

const call = async (client: Client): Promise<void> => {
  await client.callTool({ name: "test-tool", arguments: {} }).catch((error: unknown) => {
    if (!/unknown tool|not found/i.test(String(error))) throw error
  })
}

/** Plays the person and the browser: the suite's authorization servers consent at once and redirect. */
export const consent = async (url: string): Promise<URL> => {
  const answer = await fetch(url, { redirect: "manual" })
  const location = answer.headers.get("location")
  if (location === null) throw new Error(`The authorization endpoint answered with ${answer.status} and no redirect`)
  return new URL(location)
}
