export * as Consent from "./Consent.ts"
export * as McpAuthProvider from "./McpAuthProvider.ts"
export * as McpFetch from "./McpFetch.ts"
