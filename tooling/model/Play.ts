import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { CallbackReceived } from "@valetkey/domain/Authorization"
import type { AuthorizationRequest } from "@valetkey/domain/AuthorizationServer"
import { ConnectionKey, type Grant } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { type FlowOwner, Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { rowOf } from "@valetkey/domain/Sealed"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import type { SpoolEntry } from "@valetkey/domain/Spool"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Cause, Context, DateTime, Duration, Effect, Exit, Redacted, Result } from "effect"
import type { Violation } from "./Case.ts"
import { Judge } from "./Judge.ts"
import * as Ports from "./Ports.ts"
import { deadlines, type Process } from "./Process.ts"
import { type Issued, Provider } from "./Provider.ts"
import { type Setting, type Step } from "./Script.ts"
import { type Fault, Stage } from "./Stage.ts"
import type { Theatre } from "./Theatre.ts"

/** A browser that was sent to the provider, and the code that it comes back with. */
interface Browser {
  readonly owner: FlowOwner
  readonly path: string
  readonly state: string
  readonly context: string
  readonly code: string
}

/** What a history came to. */
export interface Played {
  readonly violation: Violation | undefined
  readonly seen: ReadonlyMap<string, number>
}

const stores = /^(connections|flows)\./
const endpoints = { authorization: "https://as.example/authorize", token: "https://as.example/token" }

/** One history: two people of different tenants, two replicas, and what the script has them do. */
export class Play {
  readonly stage = new Stage()
  readonly provider: Provider
  readonly spools: ReadonlyArray<Map<string, SpoolEntry>> = [new Map(), new Map()]
  readonly processes: Array<Process>
  readonly keys: ReadonlyArray<ConnectionKey>
  readonly #theatre: Theatre
  readonly #judge: Judge
  readonly #setting: Setting
  readonly #paths: ReadonlyArray<string>
  readonly #requests: Array<{ readonly state: string; readonly redirectUri: string }> = []
  readonly #browsers: Array<Browser> = []
  readonly #used: Array<Process> = []
  #failing: { readonly lost: Step["lost"]; readonly fault: Fault } | undefined
  /** Whether the store cannot be reached. */
  #outage = false
  /** The last token that each caller was given. */
  readonly #given = new Map<string, Redacted.Redacted>()

  constructor(theatre: Theatre, setting: Setting) {
    this.#theatre = theatre
    this.#setting = setting
    this.provider = new Provider(setting.rotation)
    this.#judge = new Judge({
      calm: setting.calm,
      policy: setting.policy,
      stage: this.stage,
      vault: theatre.vault,
      world: theatre.world,
      provider: this.provider
    })
    this.processes = []
    theatre.open(this, this.stage, this.#judge)
    for (const slot of [0, 1]) this.processes.push(this.#begin(slot))
    // Tenants that no other history has: a process remembers some things of them.
    this.keys = ["a", "b"].map((name) =>
      new ConnectionKey({
        tenant: TenantId.make(`${name}${theatre.histories}`),
        subject: SubjectId.make("ada"),
        server: ServerSlug.make("mcp")
      })
    )
    this.#paths = this.keys.map(({ path }) => path)
  }

  /** Servers are described when somebody wants to connect: credentials can be deposited without. */
  #describe({ server: slug, tenant }: ConnectionKey): void {
    const { servers } = this.#theatre.world
    const row = rowOf(tenant, slug)
    if (servers.has(row)) return
    servers.set(
      row,
      new Server({
        tenant,
        slug,
        resource: "https://mcp.example/mcp",
        issuer: "https://as.example",
        endpoints,
        client: { clientId: "client", authMethod: "none" },
        quirks: { redemptionPolicy: this.#setting.policy }
      } as never)
    )
  }

  /** Plays the steps, lets everything come to its end, and says what was broken. */
  perform(steps: ReadonlyArray<Step>): Played {
    this.#consent(0)
    this.#settle()
    if (this.#setting.both) {
      this.#consent(1)
      this.#settle()
    }
    if (this.#setting.race) { for (const process of this.processes) this.#ask(0, process, "plain") }
    for (const step of steps) {
      if (this.#judge.case.violation !== undefined) break
      this.#step(step)
    }
    if (this.#judge.case.violation === undefined) this.#finish()
    const { violation } = this.#judge.case
    if (violation === undefined) this.#theatre.giveBack(this.#used)
    this.#theatre.clear()
    return { violation, seen: this.stage.seen }
  }

  credentialsOf(issued: Issued) {
    return Ports.credentialsOf(issued, this.stage.now, this.#setting.lifetime)
  }

  authorizationUrl({ redirectUri, state }: AuthorizationRequest): Redacted.Redacted {
    const number = this.#requests.push({ redirectUri, state: Redacted.value(state) }) - 1
    return Redacted.make(`https://as.example/authorize?request=${number}`)
  }

  #begin(slot: number): Process {
    const process = this.#theatre.lend(slot)
    this.#used.push(process)
    return process
  }

  #look(): void {
    this.#judge.look(this.#paths)
  }

  #step(step: Step): void {
    const process = this.processes[step.replica]!
    const { both, calm } = this.#setting
    const owner = both ? step.owner : 0
    const seen = (what: string) => this.stage.count(`step: ${what}`)
    switch (step.do) {
      case "go":
        return this.#go(step.which, calm ? "none" : step.fault)
      case "rush": {
        for (let left = 6; left > 0; left--) this.#go(step.which, "none")
        return
      }
      case "wait":
        // What is on its way when nothing is slow arrives before time passes.
        if (calm) this.#settle()
        seen("wait")
        this.stage.pass(step.millis)
        return this.#look()
      case "ask":
        if (process.stopped) return
        seen(`ask ${step.how}`)
        this.#ask(owner, process, step.how)
        return
      case "consent":
        if (process.stopped) return
        seen("deposit")
        return this.#consent(owner, process)
      case "disconnect":
        if (process.stopped) return
        seen("disconnect")
        process.run(
          Effect.flatMap(Connections, (connections) => Effect.ignore(connections.disconnect(this.keys[owner]!)))
        )
        return this.#look()
      case "start":
        if (process.stopped) return
        seen("start")
        return this.#start(owner, process, step.conflict)
      case "come back":
        if (process.stopped) return
        return this.#comeBack(process, step.which, step.back)
      case "cancel": {
        const browser = this.#browsers.at(-1)
        if (process.stopped || browser === undefined) return
        seen("cancel")
        process.run(Effect.flatMap(Flows, (flows) => Effect.ignore(flows.cancel(browser.owner))))
        return this.#look()
      }
      case "housekeeping":
        if (process.stopped) return
        seen("housekeeping")
        return this.#housekeep(process)
      case "die":
        if (calm) return
        seen("die")
        return this.#die(process, step.arrives)
      case "stop":
        if (calm) return
        seen(process.stopped ? "go on" : "stop")
        process.late = true
        process.stopped = !process.stopped
        return
      case "provider fails":
        if (calm) return
        seen(`provider fails ${step.lost} ${step.fault}`)
        this.#failing = { lost: step.lost, fault: step.fault }
        return
      case "outage":
        if (calm) return
        seen("outage")
        this.#outage = !this.#outage
        return
      case "withdraw": {
        const { refreshTokens } = this.provider
        for (const { family } of refreshTokens.values()) {
          if (family.path === this.#paths[owner]) family.revoked = true
        }
        return seen("withdraw")
      }
    }
  }

  #go(which: number, fault: Step["fault"]): void {
    const { open } = this.stage
    const turn = open[which % Math.max(1, open.length)]
    if (turn === undefined) return
    this.stage.take(turn, fault === "none" ? this.#faultOf(turn.name) : fault)
    this.#look()
  }

  /** What was decided of a turn before it was there. */
  #faultOf(name: string): Fault {
    if (this.#outage) return stores.test(name) ? "before" : "none"
    if (this.#failing === undefined || !name.endsWith(` ${this.#failing.lost}`)) return "none"
    const { fault } = this.#failing
    this.#failing = undefined
    return fault
  }

  /** Everything that is on its way arrives, in its order, and no time passes. */
  #settle(): void {
    for (let left = 500; left > 0 && this.stage.open.length > 0; left--) this.#go(0, "none")
  }

  #ask(owner: number, process: Process, how: Step["how"]): void {
    const path = this.#paths[owner]!
    const rejected = how === "rejecting" ? this.#given.get(path) : undefined
    const minValidity = how === "demanding" ? 20_000 : undefined
    const ask = this.#judge.callers.asked({
      path,
      process,
      at: this.stage.now,
      rejected: rejected && Redacted.value(rejected),
      minValidity
    })
    const demand = { rejected, minValidity, patience: deadlines.waiter }
    process.run(Effect.flatMap(AccessTokens, (tokens) => tokens.get(this.keys[owner]!, demand)), (exit) => {
      if (!process.alive) return
      if (Exit.isSuccess(exit)) {
        this.stage.count("given")
        this.#given.set(path, exit.value.accessToken)
        return this.#judge.callers.given(ask, exit.value)
      }
      this.#judge.callers.told(ask)
      const error = Cause.squash(exit.cause) as { readonly code?: string; readonly retryAfter?: Duration.Duration }
      this.stage.count(`told: ${error.code ?? "defect"}`)
      if (error.code === undefined) this.#judge.case.broken("I7", `a caller met a defect: ${String(error)}`)
    })
    this.#look()
  }

  #consent(owner: number, process = this.processes[0]!): void {
    const credentials = {
      ...this.credentialsOf(this.provider.consent(this.#paths[owner]!)),
      // Somebody else had them for a while, or they are new.
      ...(this.#setting.stale
        ? { issuedAt: DateTime.makeUnsafe(this.stage.now - 3_600_000), expiresAt: DateTime.makeUnsafe(this.stage.now) }
        : {})
    }
    process.run(
      Effect.flatMap(
        Connections,
        (connections) => Effect.ignore(connections.deposit(this.keys[owner]!, { grant: this.#grant, credentials }))
      )
    )
    this.#look()
  }

  get #grant(): Grant {
    return {
      issuer: "https://as.example",
      tokenEndpoint: endpoints.token,
      revocationEndpoint: "https://as.example/revoke",
      clientId: "client",
      authMethod: "none",
      redemptionPolicy: this.#setting.policy
    }
  }

  #start(owner: number, process: Process, onConflict: Step["conflict"]): void {
    const key = this.keys[owner]!
    this.#describe(key)
    process.run(Effect.flatMap(Flows, (flows) => flows.start(key, { onConflict, reauthorize: true })), (exit) => {
      if (!process.alive || !Exit.isSuccess(exit) || exit.value._tag !== "Started") return
      const { authorizationUrl, flow } = exit.value
      const request = this.#requests[Number(new URL(Redacted.value(authorizationUrl)).searchParams.get("request"))]!
      const code = `code-${this.stage.next()}`
      this.provider.codes.set(code, { path: key.path, arrived: 0 })
      this.#browsers.push({
        owner: { id: flow.id, tenant: key.tenant, subject: key.subject },
        path: key.path,
        state: request.state,
        context: request.redirectUri.slice(request.redirectUri.lastIndexOf("/") + 1),
        code
      })
    })
    this.#look()
  }

  #comeBack(process: Process, which: number, how: Step["back"]): void {
    const browser = this.#browsers[which % Math.max(1, this.#browsers.length)]
    if (browser === undefined) return
    this.stage.count(`step: come back ${how}`)
    const received = Result.getOrThrow(CallbackReceived.parse(
      new URLSearchParams({
        state: how === "strange" ? "junk" : browser.state,
        iss: how === "misled" ? "https://evil.example" : "https://as.example",
        ...(how === "denied" ? { error: "access_denied" } : { code: browser.code })
      })
    ))
    const context = how === "elsewhere" ? "another" : browser.context
    if (how !== "strange" && how !== "elsewhere") this.#judge.flows.answered.add(browser.owner.id)
    process.run(Effect.flatMap(Flows, (flows) => Effect.ignore(flows.complete(received, { context }))))
    this.#look()
  }

  #housekeep(process: Process): void {
    process.run(
      Effect.flatMap(
        Housekeeping,
        ({ replay, revoke, sweep }) =>
          Effect.all([Effect.ignore(replay), Effect.ignore(revoke), Effect.ignore(sweep)], { discard: true })
      )
    )
    this.#look()
  }

  /** A kill: nobody who waited here is answered, and the next life finds what is durable. */
  #die(process: Process, arrives: boolean): void {
    process.alive = false
    this.stage.abandon(process, arrives)
    this.processes[process.slot] = this.#begin(process.slot)
    this.#housekeep(this.processes[process.slot]!)
  }

  /** Everybody goes on, nothing is slow any more, and every promise that takes time must come true. */
  #finish(): void {
    for (const process of this.processes) process.stopped = false
    this.#failing = undefined
    this.#outage = false
    this.#quiesce()
    this.#tidy()
    for (const owner of this.keys.keys()) this.#probe(owner)
    this.#tidy()
    if (this.#theatre.world.flows.size > 0) {
      // Longer than a flow lives.
      this.stage.pass(Duration.toMillis("20 minutes"))
      this.#housekeep(this.processes[0]!)
      this.#quiesce()
    }
    if (this.#judge.case.violation === undefined) this.#judge.end(this.#paths)
  }

  /** What the spools hold is settled, and what is owed is revoked. */
  #tidy(): void {
    for (const process of this.processes) {
      if (this.spools[process.slot]!.size > 0) this.stage.count("a result waits in the spool")
      if (this.spools[process.slot]!.size === 0 && this.#theatre.world.outbox.size === 0) continue
      this.#housekeep(process)
      this.#quiesce()
    }
  }

  /** Until nothing is on its way and nobody waits for a time. */
  #quiesce(): void {
    for (let left = 300; left > 0; left--) {
      this.#settle()
      const { wait } = this.stage
      if (wait === undefined) return
      this.stage.pass(wait)
      this.#look()
    }
    this.#judge.case.broken("I7", "there is no end of waiting")
  }

  /** Whether the row says by itself that whoever asks is answered at once. */
  #atRest(path: string): boolean {
    const { connections, endpoints } = this.#theatre.world
    const row = connections.get(path)
    if (row === undefined) return true
    return endpoints.size === 0 && row.phase === "idle" && row.notBefore <= this.stage.now && row.attempts === 0 &&
      !row.connection.rejected
  }

  /** Asks for a token until there is an answer that lasts. */
  #probe(owner: number): void {
    const path = this.#paths[owner]!
    if (this.#atRest(path)) return
    let answer = ""
    for (let left = 6; left > 0; left--) {
      let retryAfter = 0
      const process = this.processes[left % 2]!
      const tokens = Context.get(process.context, AccessTokens)
      process.run(tokens.get(this.keys[owner]!), (exit) => {
        answer = Exit.match(exit, {
          onSuccess: () => "token",
          onFailure: (cause) => {
            const error = Cause.squash(cause) as { readonly code?: string; readonly retryAfter?: Duration.Duration }
            retryAfter = Duration.toMillis(error.retryAfter ?? Duration.seconds(1))
            return error.code ?? String(error)
          }
        })
      })
      this.#quiesce()
      if (["token", "reauthorization_required", "connection_not_found"].includes(answer)) break
      this.stage.pass(retryAfter)
    }
    this.#judge.settled(path, answer)
  }
}
