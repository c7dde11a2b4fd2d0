import type { AccessToken } from "@valetkey/domain/AccessToken"
import type { RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { Connection } from "@valetkey/domain/Connection"
import { canTransition, type FlowState, isTerminal } from "@valetkey/domain/Flow"
import { type ClaimOutcome, maxAttempts, type RefreshFailure } from "@valetkey/domain/Refresh"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import type { SpoolEntry } from "@valetkey/domain/Spool"
import type { ConnectionRow, MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { DateTime, Redacted } from "effect"
import type { Process } from "./Process.ts"
import { busy, type Issued, type Provider, refused, unknown } from "./Provider.ts"
import type { Stage } from "./Stage.ts"
import type { Vault } from "./Vault.ts"

/** What a history broke. */
export interface Violation {
  readonly invariant: string
  readonly what: string
}

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
export interface Request {
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

/** One call for a token. */
export interface Ask {
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

const millis = { http: 1000, waiter: 4000 }

/**
 * Holds what happens against I1 to I10 and I23. It sees the calls of the ports as the use cases make them, the rows after
 * each turn, what the provider hears, and what callers are given; the first violation stays.
 */
export class Judge {
  violation: Violation | undefined
  /** Whether nothing was done to anybody: no fault, no death, no stop, no time that passed over a call. */
  readonly calm: boolean
  readonly policy: RedemptionPolicy
  readonly #stage: Stage
  readonly #vault: Vault
  readonly #world: MemoryWorld["Service"]
  readonly #provider: Provider
  readonly #attempts = new Map<string, Attempts>()
  readonly #rows = new Map<string, ConnectionRow>()
  readonly #flows = new Map<string, FlowState>()
  readonly #orders = new Map<string, number>()
  readonly #handed = new Map<string, Handed>()
  /** Access tokens that a row called rejected, in the order of that. */
  readonly #rejected = new Map<string, number>()
  readonly #received: Array<Received> = []
  /** Refresh tokens of lives that a disconnect ended. */
  readonly #owed = new Set<string>()
  readonly #ended = new Set<string>()
  readonly asks: Array<Ask> = []
  /** Flows whose own response came, as its person sent it. */
  readonly answeredFlows = new Set<string>()

  constructor(options: {
    readonly calm: boolean
    readonly policy: RedemptionPolicy
    readonly stage: Stage
    readonly vault: Vault
    readonly world: MemoryWorld["Service"]
    readonly provider: Provider
  }) {
    this.calm = options.calm
    this.policy = options.policy
    this.#stage = options.stage
    this.#vault = options.vault
    this.#world = options.world
    this.#provider = options.provider
  }

  broken(invariant: string, what: string): void {
    this.violation ??= { invariant, what }
  }

  // Calls of the ports

  claimed(outcome: ClaimOutcome): void {
    this.#stage.count(`claim: ${outcome._tag}${outcome._tag === "Claimed" && outcome.fence > 1 ? " again" : ""}`)
  }

  marked(process: Process, { epoch, generation }: { epoch: string; generation: number }, marked: boolean): void {
    this.#stage.count(`mark: ${marked ? "sent" : "lost"}`)
    if (!marked) return
    process.marks.set(epoch, { epoch, generation })
    this.#attemptsOf(epoch, generation).marks++
  }

  failed(
    path: string,
    { epoch, failure, generation }: { epoch: string; generation: number; failure: RefreshFailure },
    recorded: boolean
  ): void {
    this.#stage.count(`failure: ${failure._tag} ${recorded ? "recorded" : "void"}`)
    // Who gives back what was only claimed takes no mark back.
    const wasSent = this.#rows.get(path)?.phase === "sent"
    if (recorded && wasSent && failure._tag === "Retryable") this.#attemptsOf(epoch, generation).returned++
  }

  committed({ epoch, generation }: { epoch: string; generation: number }, done: boolean): void {
    this.#stage.count(`commit: ${done ? "adopted" : "void"}`)
    if (done && ++this.#attemptsOf(epoch, generation).commits > 1) {
      this.broken("I3", `results of generation ${generation} were stored twice`)
    }
  }

  spooled({ credentials, epoch, redeemed }: SpoolEntry): void {
    const accessToken = this.#vault.reveal(credentials.accessToken)
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
    const epoch = this.#provider.refreshTokens.get(refreshToken)?.family.epoch ?? "nobody"
    const mark = process.marks.get(epoch)
    const request: Request = {
      process,
      at: this.#stage.now,
      epoch,
      generation: mark?.generation ?? -1,
      outcome: "open"
    }
    if (mark === undefined) {
      this.broken("I1", "a refresh token left that was not marked as sent")
      return request
    }
    const { requests } = this.#attemptsOf(epoch, mark.generation)
    const before = requests.filter(({ outcome }) => outcome !== "busy")
    if (before.length > 0) this.#stage.count("redeemed again")
    if (before.length >= maxAttempts(this.policy)) {
      this.broken("I1", `${before.length + 1} requests carried the refresh token of generation ${mark.generation}`)
    } else if (before.some(({ outcome }) => outcome === "tokens" || outcome === "refused") && this.calm) {
      this.broken(
        "I1",
        `the refresh token of generation ${mark.generation} was redeemed again although nothing was unknown`
      )
    } else if (before.some(({ at, outcome }) => outcome === "open" && request.at - at < millis.http)) {
      this.broken("I1", `the refresh token of generation ${mark.generation} left twice within one deadline`)
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
    this.#stage.count(`answer: ${request.outcome}`)
  }

  /** An authorization code arrives. */
  exchanged(code: string): void {
    const known = this.#provider.codes.get(code)
    if (known === undefined) return this.broken("I2", "a code arrived that nobody issued")
    if (++known.arrived > 1) this.broken("I2", "an authorization code arrived twice")
  }

  // Callers

  asked(ask: Omit<Ask, "before" | "done" | "floor" | "known">): Ask {
    const begun: Ask = {
      ...ask,
      floor: this.floor(ask.path),
      before: this.#handed.get(ask.path),
      known: this.#rejected.size,
      done: false
    }
    this.asks.push(begun)
    return begun
  }

  /** The first consent of a key whose tokens may be handed out from now on. */
  floor(path: string): number {
    const order = this.#orders.get(path) ?? 0
    const status = this.#world.connections.get(path)?.connection.status._tag
    return status === undefined || status === "revoking" ? order + 1 : order
  }

  told(ask: Ask): void {
    ask.done = true
    if (!ask.process.late && this.#stage.now - ask.at > millis.waiter) {
      this.broken("I7", `a caller waited for ${this.#stage.now - ask.at} ms`)
    }
  }

  given(ask: Ask, token: AccessToken): void {
    this.told(ask)
    const value = Redacted.value(token.accessToken)
    const issued = this.#provider.accessTokens.get(value)
    if (issued === undefined) return this.broken("I10", "a caller was given a token that nobody issued")
    const { family } = issued
    if (family.path !== ask.path) return this.broken("I10", "a caller was given the token of somebody else")
    const order = family.order ?? 0
    if (order < ask.floor) {
      return this.broken("I23", "a caller was given the token of a consent that was ended or replaced before it asked")
    }
    if (value === ask.rejected || (this.#rejected.get(value) ?? Infinity) < ask.known) {
      return this.broken("I6", "a caller was given a token that was known to be rejected")
    }
    if (ask.before?.order === order && token.generation < ask.before.generation) {
      return this.broken("I20", `generation ${token.generation} was given out after ${ask.before.generation}`)
    }
    const handed = this.#handed.get(ask.path)
    if (
      handed === undefined || order > handed.order || order === handed.order && token.generation > handed.generation
    ) {
      this.#handed.set(ask.path, { order, generation: token.generation })
    }
    const row = this.#rows.get(ask.path)?.connection
    if (this.#stage.last !== "connections.get" || token.expiresAt === undefined || row === undefined) return
    // It was read in this very turn, so no time has passed since it was found good.
    const left = DateTime.toEpochMillis(token.expiresAt) - this.#stage.now
    const lifetime = DateTime.toEpochMillis(token.expiresAt) - DateTime.toEpochMillis(row.credentials.issuedAt)
    const isEnough = left > 0 && (ask.minValidity === undefined && !this.calm ||
      left >= Math.min(ask.minValidity ?? 30_000, lifetime / 2))
    if (!isEnough) this.broken("I6", `a caller was given a stored token with ${left} ms left`)
  }

  // Rows

  /** Looks at what the turn has changed. */
  look(paths: ReadonlyArray<string>): void {
    for (const path of paths) {
      const [before, after] = [this.#rows.get(path), this.#world.connections.get(path)]
      if (before === after) continue
      if (after === undefined) {
        this.#rows.delete(path)
        if (before?.connection.status._tag !== "revoking") this.broken("I4", "a connection is gone that nobody ended")
      } else {
        this.#rows.set(path, after)
        this.#changed(path, before, after)
      }
    }
    if (this.#world.flows.size > 0) this.#lookAtFlows()
  }

  #changed(path: string, before: ConnectionRow | undefined, { connection }: ConnectionRow): void {
    const { epoch, generation, rejected, status } = connection
    if (connection.key.path !== path) this.broken("I10", "a row belongs to another key than its own")
    const former = before?.connection
    if (status._tag === "revoking") {
      if (former === undefined || former.epoch === epoch) return
      const refreshToken = this.#vault.reveal(former.credentials.refreshToken)
      if (refreshToken !== undefined) this.#owed.add(refreshToken)
      this.#ended.add(former.epoch)
      return
    }
    const issued = this.#issuedOf(connection)
    if (issued === undefined) return
    if (former?.epoch !== epoch) {
      if (issued.redeemed !== undefined || issued.family.epoch !== undefined) {
        this.broken("I4", "a new life of a connection began with the tokens of another")
      }
      if (former !== undefined && generation <= former.generation) {
        this.broken("I4", `generation ${generation} was stored over ${former.generation}`)
      }
      const order = (this.#orders.get(path) ?? 0) + 1
      this.#orders.set(path, order)
      issued.family.epoch = epoch
      issued.family.order = order
      if (former !== undefined) this.#stage.count(`consent over ${former.status._tag}`)
    } else {
      this.#moved(former, connection, issued)
    }
    if (rejected && !this.#rejected.has(issued.accessToken)) this.#rejected.set(issued.accessToken, this.#rejected.size)
  }

  /** What one life of a connection became. */
  #moved(former: Connection, { credentials, epoch, generation, status }: Connection, issued: Issued): void {
    const refreshToken = this.#vault.reveal(credentials.refreshToken)
    const formerToken = this.#vault.reveal(former.credentials.refreshToken)
    if (issued.family.epoch !== epoch) this.broken("I4", "a refresh stored the tokens of another consent")
    if (generation === former.generation) {
      if (refreshToken !== formerToken || issued.accessToken !== this.#vault.reveal(former.credentials.accessToken)) {
        this.broken("I4", `the tokens of generation ${generation} changed`)
      }
    } else if (generation !== former.generation + 1) {
      this.broken("I4", `generation ${generation} was stored over ${former.generation}`)
    } else {
      if (issued.redeemed !== formerToken) {
        this.broken("I4", "a result was stored over another than it was redeemed from")
      }
      if (refreshToken !== (issued.refreshToken ?? formerToken)) {
        this.broken("I3", "the refresh token that is in force was not stored")
      }
      if (former.status._tag !== "active") this.#stage.count(`commit over ${former.status._tag}`)
    }
    if (status._tag === "needs_reauth" && former.status._tag === "active") this.#lost(epoch, generation, status.reason)
  }

  #lost(epoch: string, generation: number, reason: string): void {
    const { marks, refused, returned } = this.#attemptsOf(epoch, generation)
    this.#stage.count(`needs_reauth: ${reason}`)
    const excused = reason === "refresh_token_rejected"
      ? refused
      : reason === "unknown_outcome" && !this.calm &&
        (marks - returned >= maxAttempts(this.policy) || refused && marks > 1)
    if (!excused) this.broken("I5", `a person is asked to consent for ${reason} of generation ${generation}`)
  }

  #lookAtFlows(): void {
    const open = new Set<string>()
    for (const [id, { flow }] of this.#world.flows) {
      if (!isTerminal(flow.state)) {
        if (open.has(flow.key.path)) this.broken("I8", "two flows of a connection are open")
        open.add(flow.key.path)
      }
      const before = this.#flows.get(id)
      if (before === flow.state) continue
      this.#flows.set(id, flow.state)
      this.#stage.count(`flow: ${flow.state}${flow.failure === undefined ? "" : ` ${flow.failure}`}`)
      if (before !== undefined && !canTransition(before, flow.state)) {
        this.broken("I8", `a flow went from ${before} to ${flow.state}`)
      }
      if ((flow.state === "exchanging" || flow.state === "completed") && !this.answeredFlows.has(id)) {
        this.broken("I9", `a flow is ${flow.state} without its own response`)
      }
    }
  }

  // The end

  /** Looks back when everybody is alive, everything has arrived and every call was answered. */
  end(paths: ReadonlyArray<string>): void {
    if (this.asks.some(({ done, process }) => !done && process.alive)) this.broken("I7", "a caller was never answered")
    for (const path of paths) {
      const row = this.#world.connections.get(path)
      const status = row?.connection.status
      this.#stage.count(
        `ends: ${status?._tag ?? "none"}${status !== undefined && "reason" in status ? ` ${status.reason}` : ""}`
      )
    }
    for (const { issued, request, spooled } of this.#received) {
      if (!spooled && !request.process.alive) continue
      const row = this.#world.connections.get(issued.family.path)?.connection
      if (row?.epoch === request.epoch && row.generation === request.generation) {
        this.broken("I3", `a complete answer for generation ${request.generation} was never stored`)
      }
      if (this.#ended.has(request.epoch) && issued.refreshToken !== undefined) {
        this.#stage.count("late result of an end")
      }
    }
    for (const token of this.#owed) {
      if (!this.#provider.revoked.has(token)) {
        this.broken("I23", "the refresh token of a disconnected connection lives on")
      }
    }
    for (const state of this.#flows.values()) {
      if (!isTerminal(state)) this.broken("I8", `a flow stays ${state}`)
    }
  }

  /** Whether a key that was asked for at the end is as its answer says. */
  settled(path: string, answer: "token" | string): void {
    const row = this.#world.connections.get(path)
    const tag = row?.connection.status._tag
    const expected = tag === "active"
      ? "token"
      : tag === "needs_reauth"
      ? "reauthorization_required"
      : "connection_not_found"
    if (answer !== expected) this.broken("I21", `a connection that is ${tag ?? "gone"} answers ${answer} to the end`)
    else if (answer === "token" && row !== undefined && row.phase !== "idle" && row.leaseUntil > this.#stage.now) {
      this.broken("I7", `a row stays ${row.phase}`)
    }
  }

  #issuedOf({ credentials, key }: Connection): Issued | undefined {
    const issued = this.#provider.accessTokens.get(this.#vault.reveal(credentials.accessToken) ?? "")
    if (issued === undefined) this.broken("I3", "a row holds an access token that nobody issued")
    else if (issued.family.path !== key.path) this.broken("I10", "a row holds the tokens of somebody else")
    return issued
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
