export * as LoopbackTransport from "./LoopbackTransport.ts"
