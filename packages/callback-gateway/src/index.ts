export * as GatewayTransport from "./GatewayTransport.ts"
