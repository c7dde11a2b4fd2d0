export * as AddressPolicy from "./AddressPolicy.ts"
export * as Egress from "./Egress.ts"
export * as EgressError from "./EgressError.ts"
export * as EgressFetch from "./EgressFetch.ts"
