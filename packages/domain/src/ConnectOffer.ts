import { Duration, type Redacted } from "effect"
import type { CompareCode } from "./CompareCode.ts"
import type { Digest } from "./Entropy.ts"
import type { Flow } from "./Flow.ts"

/** How long a connect ticket leads anywhere, however long its flow lives. */
export const ticketLife = Duration.minutes(10)

/** The secret that a browser holds for a flow, by the receipt of the flow; undefined when it holds none. */
export type BrowserSecret = (receipt: Digest) => Redacted.Redacted | undefined

/** What a connect ticket offers to the person who opens it. */
export interface ConnectOffer {
  readonly flow: Flow
  /** SHA-256 of `state`: names the flow in a browser, and opens nothing. */
  readonly receipt: Digest
  /** What the program shows that started the flow. */
  readonly compareCode: CompareCode
  /** To which browser the flow is bound: to none yet, to the one that asks, or to another. */
  readonly browser: "none" | "this" | "another"
}

/** The way on for the browser that took a ticket. */
export interface Departure {
  readonly flow: Flow
  /** Holds `state`: for this browser alone. */
  readonly authorizationUrl: Redacted.Redacted
}
