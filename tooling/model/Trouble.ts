import type { Step } from "./Script.ts"
import type { Fault } from "./Stage.ts"

const stores = /^(connections|flows)\./

/** What was decided of calls before they are there: a store that cannot be reached, and the next failure of the provider. */
export class Trouble {
  #outage = false
  #failing: { readonly lost: Step["lost"]; readonly fault: Fault } | undefined

  /** The store cannot be reached any more, or can be again. */
  turnOutage(): void {
    this.#outage = !this.#outage
  }

  /** The next request to the provider, or the next answer, fails. */
  failNext(lost: Step["lost"], fault: Fault): void {
    this.#failing = { lost, fault }
  }

  faultOf(name: string): Fault {
    if (this.#outage) return stores.test(name) ? "before" : "none"
    if (this.#failing === undefined || !name.endsWith(` ${this.#failing.lost}`)) return "none"
    const { fault } = this.#failing
    this.#failing = undefined
    return fault
  }

  end(): void {
    this.#failing = undefined
    this.#outage = false
  }
}
