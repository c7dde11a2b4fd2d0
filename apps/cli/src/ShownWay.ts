import type { Flow, Ready } from "./Wire.ts"

/** The way to a consent that this command has shown. Another command may put another one in its place. */
export class ShownWay {
  /** What the person consents with, as it was at first. */
  readonly first: Ready
  #handOffs: number
  #changing = false

  constructor(ready: Ready) {
    this.first = ready
    this.#handOffs = ready.handOffs ?? 0
  }

  /** From here to `changed` or `kept` this command itself puts another way in place. */
  changing(): void {
    this.#changing = true
  }

  /** The person goes on with what was shown last. */
  changed({ handOffs = 0 }: Ready): void {
    this.#handOffs = handOffs
    this.#changing = false
  }

  /** Nothing else took its place. */
  kept(): void {
    this.#changing = false
  }

  /** Whether somebody else goes on with the flow. An older server counts nothing; then nobody does. */
  isGone({ handOffs = 0 }: Flow): boolean {
    return !this.#changing && handOffs > this.#handOffs
  }
}
