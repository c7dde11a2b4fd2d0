import type { Mode } from "./History.ts"

/** What the process of the providers says when it listens. */
export interface Ready {
  readonly ports: Readonly<Record<Mode, number>>
}

/** What it is told to do. */
export type Order =
  /** A person consents: the answer is the `Grant`. */
  | {
    readonly do: "grant"
    readonly grant: number
    readonly connection: number
    readonly mode: Mode
    readonly lifetimeSeconds: number | undefined
  }
  /** A person withdraws the consent at the provider, or gives a newer one that ends it. */
  | { readonly do: "revoke"; readonly grant: number }
  /** The grant's next redemption takes its time. */
  | { readonly do: "hold"; readonly grant: number }
  /** Every redemption from now on is answered honestly. */
  | { readonly do: "calm" }
  /** Everything that was seen so far. */
  | { readonly do: "collect" }
