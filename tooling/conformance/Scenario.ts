/** What a scenario tells its client besides the URL. */
export const context = JSON.parse(process.env["MCP_CONFORMANCE_CONTEXT"] ?? "{}") as Readonly<Record<string, string>>

export const name = process.env["MCP_CONFORMANCE_SCENARIO"] ?? ""

/** The client id that the suite expects of clients that describe themselves by a document. */
export const clientMetadataUrl = "https://conformance-test.local/client-metadata.json"
