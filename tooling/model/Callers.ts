import type { AccessToken } from "@valetkey/domain/AccessToken"
import { DateTime, Redacted } from "effect"
import type { Case } from "./Case.ts"
import type { Lives } from "./Lives.ts"
import type { Process } from "./Process.ts"

/** One call for a token. */
interface Ask {
  readonly path: string
  readonly process: Process
  readonly at: number
  readonly rejected: string | undefined
  readonly minValidity: number | undefined
  /** The oldest consent whose tokens may still come of it. */
  readonly floor: number
  /** What somebody had been given before it began. */
  readonly before: Handed | undefined
  /** How many tokens were known to be rejected when it began. */
  readonly known: number
  done: boolean
}

interface Handed {
  readonly order: number
  readonly generation: number
}

/** How long a caller waits at most, in milliseconds. */
const patience = 4000

/** Holds what callers are given, and when, against I6, I7, I10, I20 and I23. */
export class Callers {
  readonly #case: Case
  readonly #lives: Lives
  readonly #asks: Array<Ask> = []
  readonly #handed = new Map<string, Handed>()

  constructor(history: Case, lives: Lives) {
    this.#case = history
    this.#lives = lives
  }

  asked(ask: Omit<Ask, "before" | "done" | "floor" | "known">): Ask {
    const begun: Ask = {
      ...ask,
      floor: this.#lives.floor(ask.path),
      before: this.#handed.get(ask.path),
      known: this.#lives.rejected.size,
      done: false
    }
    this.#asks.push(begun)
    return begun
  }

  told(ask: Ask): void {
    ask.done = true
    const waited = this.#case.evidence.stage.now - ask.at
    if (!ask.process.late && waited > patience) this.#case.broken("I7", `a caller waited for ${waited} ms`)
  }

  given(ask: Ask, token: AccessToken): void {
    this.told(ask)
    const { calm, provider, stage } = this.#case.evidence
    const value = Redacted.value(token.accessToken)
    const issued = provider.accessTokens.get(value)
    if (issued === undefined) return this.#case.broken("I10", "a caller was given a token that nobody issued")
    const { family } = issued
    if (family.path !== ask.path) return this.#case.broken("I10", "a caller was given the token of somebody else")
    const order = family.order ?? 0
    if (order < ask.floor) {
      return this.#case.broken(
        "I23",
        "a caller was given the token of a consent that was ended or replaced before it asked"
      )
    }
    if (value === ask.rejected || (this.#lives.rejected.get(value) ?? Infinity) < ask.known) {
      return this.#case.broken("I6", "a caller was given a token that was known to be rejected")
    }
    if (ask.before?.order === order && token.generation < ask.before.generation) {
      return this.#case.broken("I20", `generation ${token.generation} was given out after ${ask.before.generation}`)
    }
    const handed = this.#handed.get(ask.path)
    if (
      handed === undefined || order > handed.order || order === handed.order && token.generation > handed.generation
    ) {
      this.#handed.set(ask.path, { order, generation: token.generation })
    }
    const row = this.#lives.rowOf(ask.path)?.connection
    if (stage.last !== "connections.get" || token.expiresAt === undefined || row === undefined) return
    // It was read in this very turn, so no time has passed since it was found good.
    const left = DateTime.toEpochMillis(token.expiresAt) - stage.now
    const lifetime = DateTime.toEpochMillis(token.expiresAt) - DateTime.toEpochMillis(row.credentials.issuedAt)
    const isEnough = left > 0 && (ask.minValidity === undefined && !calm ||
      left >= Math.min(ask.minValidity ?? 30_000, lifetime / 2))
    if (!isEnough) this.#case.broken("I6", `a caller was given a stored token with ${left} ms left`)
  }

  end(): void {
    if (this.#asks.some(({ done, process }) => !done && process.alive)) {
      this.#case.broken("I7", "a caller was never answered")
    }
  }
}
