export * as Canary from "./Canary.ts"
export * as Fingerprint from "./Fingerprint.ts"
export * as OidcProvider from "./OidcProvider.ts"
export * as UserAgent from "./UserAgent.ts"
