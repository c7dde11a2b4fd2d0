import * as Child from "./Child.ts"
import type { Grant, Mode, Redemption } from "./History.ts"
import type { Order, Ready } from "./ProviderOrders.ts"

/** The process of the providers, as a run steers it. */
export interface Providers {
  readonly ports: Readonly<Record<Mode, number>>
  grant(of: Omit<Extract<Order, { readonly do: "grant" }>, "do">): Promise<Grant>
  revoke(grant: number): Promise<void>
  hold(grant: number): Promise<void>
  calm(): Promise<void>
  collect(): Promise<{ readonly grants: ReadonlyArray<Grant>; readonly redemptions: ReadonlyArray<Redemption> }>
  stop(): Promise<void>
}

/**
 * Starts them; `share` of the redemptions meet something else than an honest answer. What is felt for a minute happens before
 * `lastingUntil`.
 */
export const start = async (seed: number, share: number, lastingUntil: number): Promise<Providers> => {
  const child = Child.start(new URL("./ProviderProcess.ts", import.meta.url), {
    args: [String(seed), String(share), String(lastingUntil)],
    env: { PATH: process.env["PATH"] }
  })
  const { ports } = await child.message<Ready>("ready")
  const waiting = new Map<number, (result: unknown) => void>()
  let orders = 0
  child.process.on("message", ({ id, result }: { readonly id: number; readonly result: unknown }) => {
    waiting.get(id)?.(result)
    waiting.delete(id)
  })
  const order = <A>(order: Order): Promise<A> =>
    new Promise((resolve) => {
      const id = ++orders
      waiting.set(id, (result) => resolve(result as A))
      child.process.send({ id, order })
    })
  return {
    ports,
    grant: (of) => order({ do: "grant", ...of }),
    revoke: (grant) => order({ do: "revoke", grant }),
    hold: (grant) => order({ do: "hold", grant }),
    calm: () => order({ do: "calm" }),
    collect: () => order({ do: "collect" }),
    stop: async () => {
      child.process.kill("SIGKILL")
      await child.ended
    }
  }
}
