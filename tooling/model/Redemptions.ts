import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { type ClaimOutcome, maxAttempts, type RefreshFailure } from "@valetkey/domain/Refresh"
import type { SpoolEntry } from "@valetkey/domain/Spool"
import type { Case } from "./Case.ts"
import type { Process } from "./Process.ts"
import { busy, type Issued, refused, unknown } from "./Provider.ts"

/** The redemptions of one generation. */
interface Attempts {
  marks: number
  /** Marks whose outcome is recorded as harmless. */
  returned: number
  refused: boolean
  commits: number
  readonly requests: Array<Request>
}

/** One request that carried a refresh token. */
interface Request {
  readonly process: Process
  readonly at: number
  readonly epoch: string
  readonly generation: number
  outcome: "open" | "tokens" | "refused" | "busy" | "unknown"
}

/** Tokens that reached a process. */
interface Received {
  readonly request: Request
  readonly issued: Issued
  spooled: boolean
}

/** Whose tokens are redeemed: a life of a connection, and its generation. */
interface Redeemed {
  readonly epoch: string
  readonly generation: number
}

/** The deadline of a request, in milliseconds. */
const deadline = 1000

/**
 * Holds what becomes of refresh tokens and codes against I1, I2, I3 and I5: what is marked, sent, answered, kept and stored, and
 * why a person is asked.
 */
export class Redemptions {
  readonly #case: Case
  readonly #attempts = new Map<string, Attempts>()
  readonly #received: Array<Received> = []

  constructor(history: Case) {
    this.#case = history
  }

  claimed(outcome: ClaimOutcome): void {
    this.#case.count(`claim: ${outcome._tag}${outcome._tag === "Claimed" && outcome.fence > 1 ? " again" : ""}`)
  }

  marked(process: Process, { epoch, generation }: Redeemed, marked: boolean): void {
    this.#case.count(`mark: ${marked ? "sent" : "lost"}`)
    if (!marked) return
    process.marks.set(epoch, { epoch, generation })
    this.#attemptsOf(epoch, generation).marks++
  }

  /** Who gives back what was only claimed takes no mark back. */
  failed(
    { epoch, failure, generation }: Redeemed & { readonly failure: RefreshFailure },
    { recorded, wasSent }: { readonly recorded: boolean; readonly wasSent: boolean }
  ): void {
    this.#case.count(`failure: ${failure._tag} ${recorded ? "recorded" : "void"}`)
    if (recorded && wasSent && failure._tag === "Retryable") this.#attemptsOf(epoch, generation).returned++
  }

  committed({ epoch, generation }: Redeemed, done: boolean): void {
    this.#case.count(`commit: ${done ? "adopted" : "void"}`)
    if (done && ++this.#attemptsOf(epoch, generation).commits > 1) {
      this.#case.broken("I3", `results of generation ${generation} were stored twice`)
    }
  }

  spooled({ credentials, epoch, redeemed }: SpoolEntry): void {
    const accessToken = this.#case.evidence.vault.reveal(credentials.accessToken)
    for (const one of this.#received) {
      if (
        one.issued.accessToken === accessToken && one.request.epoch === epoch && one.request.generation === redeemed
      ) {
        one.spooled = true
      }
    }
  }

  /** A refresh token leaves. */
  sent(process: Process, refreshToken: string): Request {
    const { calm, policy, provider, stage } = this.#case.evidence
    const epoch = provider.refreshTokens.get(refreshToken)?.family.epoch ?? "nobody"
    const mark = process.marks.get(epoch)
    const request: Request = { process, at: stage.now, epoch, generation: mark?.generation ?? -1, outcome: "open" }
    if (mark === undefined) {
      this.#case.broken("I1", "a refresh token left that was not marked as sent")
      return request
    }
    const { requests } = this.#attemptsOf(epoch, mark.generation)
    const before = requests.filter(({ outcome }) => outcome !== "busy")
    if (before.length > 0) this.#case.count("redeemed again")
    if (before.length >= maxAttempts(policy)) {
      this.#case.broken(
        "I1",
        `${before.length + 1} requests carried the refresh token of generation ${mark.generation}`
      )
    } else if (before.some(({ outcome }) => outcome === "tokens" || outcome === "refused") && calm) {
      this.#case.broken(
        "I1",
        `the refresh token of generation ${mark.generation} was redeemed again although nothing was unknown`
      )
    } else if (before.some(({ at, outcome }) => outcome === "open" && request.at - at < deadline)) {
      this.#case.broken("I1", `the refresh token of generation ${mark.generation} left twice within one deadline`)
    }
    requests.push(request)
    return request
  }

  heard(request: Request, answer: Issued | RedemptionError): void {
    if (answer === refused) this.#attemptsOf(request.epoch, request.generation).refused = true
  }

  answered(request: Request, answer: Issued | RedemptionError): void {
    if ("accessToken" in answer) {
      request.outcome = "tokens"
      this.#received.push({ request, issued: answer, spooled: false })
    } else request.outcome = answer === busy ? "busy" : answer === unknown ? "unknown" : "refused"
    this.#case.count(`answer: ${request.outcome}`)
  }

  /** An authorization code arrives. */
  exchanged(code: string): void {
    const known = this.#case.evidence.provider.codes.get(code)
    if (known === undefined) return this.#case.broken("I2", "a code arrived that nobody issued")
    if (++known.arrived > 1) this.#case.broken("I2", "an authorization code arrived twice")
  }

  /** A person is asked to consent again. */
  lost({ epoch, generation }: Redeemed, reason: string): void {
    const { calm, policy } = this.#case.evidence
    const { marks, refused, returned } = this.#attemptsOf(epoch, generation)
    this.#case.count(`needs_reauth: ${reason}`)
    const excused = reason === "refresh_token_rejected"
      ? refused
      : reason === "unknown_outcome" && !calm &&
        (marks - returned >= maxAttempts(policy) || refused && marks > 1)
    if (!excused) this.#case.broken("I5", `a person is asked to consent for ${reason} of generation ${generation}`)
  }

  /** Looks back at what arrived, with the lives that a disconnect ended. */
  end(ended: ReadonlySet<string>): void {
    const { world } = this.#case.evidence
    for (const { issued, request, spooled } of this.#received) {
      if (!spooled && !request.process.alive) continue
      const row = world.connections.get(issued.family.path)?.connection
      if (row?.epoch === request.epoch && row.generation === request.generation) {
        this.#case.broken("I3", `a complete answer for generation ${request.generation} was never stored`)
      }
      if (ended.has(request.epoch) && issued.refreshToken !== undefined) this.#case.count("late result of an end")
    }
  }

  #attemptsOf(epoch: string, generation: number): Attempts {
    const id = `${epoch} ${generation}`
    let attempts = this.#attempts.get(id)
    if (attempts === undefined) {
      attempts = { marks: 0, returned: 0, refused: false, commits: 0, requests: [] }
      this.#attempts.set(id, attempts)
    }
    return attempts
  }
}
