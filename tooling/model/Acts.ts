import { AccessTokens } from "@valetkey/domain/AccessTokens"
import type { ConnectionKey, Grant } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { rowOf } from "@valetkey/domain/Sealed"
import { type RedemptionPolicy, Server } from "@valetkey/domain/Server"
import { Cause, DateTime, type Duration, Effect, Exit, Redacted } from "effect"
import { responseOf } from "./Browsers.ts"
import { deadlines, type Process } from "./Process.ts"
import type { Scene } from "./Scene.ts"
import type { Step } from "./Script.ts"

const endpoints = { authorization: "https://as.example/authorize", token: "https://as.example/token" }

/** What people and programs do in a history, and what is done to a replica. Whatever they begin goes on turn by turn. */
export class Acts {
  readonly #scene: Scene
  /** The last token that each caller was given. */
  readonly #given = new Map<string, Redacted.Redacted>()

  constructor(scene: Scene) {
    this.#scene = scene
  }

  ask(owner: number, process: Process, how: Step["how"]): void {
    const { judge, keys, paths, stage } = this.#scene
    const path = paths[owner]!
    const rejected = how === "rejecting" ? this.#given.get(path) : undefined
    const minValidity = how === "demanding" ? 20_000 : undefined
    const ask = judge.callers.asked({
      path,
      process,
      at: stage.now,
      rejected: rejected && Redacted.value(rejected),
      minValidity
    })
    const demand = { rejected, minValidity, patience: deadlines.waiter }
    process.run(Effect.flatMap(AccessTokens, (tokens) => tokens.get(keys[owner]!, demand)), (exit) => {
      if (!process.alive) return
      if (Exit.isSuccess(exit)) {
        stage.count("given")
        this.#given.set(path, exit.value.accessToken)
        return judge.callers.given(ask, exit.value)
      }
      judge.callers.told(ask)
      const error = Cause.squash(exit.cause) as { readonly code?: string; readonly retryAfter?: Duration.Duration }
      stage.count(`told: ${error.code ?? "defect"}`)
      if (error.code === undefined) judge.case.broken("I7", `a caller met a defect: ${String(error)}`)
    })
    this.#scene.look()
  }

  /** Credentials are deposited that a person consented to elsewhere. */
  consent(owner: number, process = this.#scene.processes[0]!): void {
    const { keys, paths, provider, setting, stage } = this.#scene
    const credentials = {
      ...this.#scene.credentialsOf(provider.consent(paths[owner]!)),
      // Somebody else had them for a while, or they are new.
      ...(setting.stale
        ? { issuedAt: DateTime.makeUnsafe(stage.now - 3_600_000), expiresAt: DateTime.makeUnsafe(stage.now) }
        : {})
    }
    const deposit = { grant: grantOf(setting.policy), credentials }
    process.run(
      Effect.flatMap(Connections, (connections) => Effect.ignore(connections.deposit(keys[owner]!, deposit)))
    )
    this.#scene.look()
  }

  disconnect(owner: number, process: Process): void {
    const { keys } = this.#scene
    process.run(Effect.flatMap(Connections, (connections) => Effect.ignore(connections.disconnect(keys[owner]!))))
    this.#scene.look()
  }

  start(owner: number, process: Process, onConflict: Step["conflict"]): void {
    const { browsers, keys, provider, stage } = this.#scene
    const key = keys[owner]!
    this.#describe(key)
    process.run(Effect.flatMap(Flows, (flows) => flows.start(key, { onConflict, reauthorize: true })), (exit) => {
      if (!process.alive || !Exit.isSuccess(exit) || exit.value._tag !== "Started") return
      const { authorizationUrl, flow } = exit.value
      const code = `code-${stage.next()}`
      provider.codes.set(code, { path: key.path, arrived: 0 })
      browsers.leave({ id: flow.id, tenant: key.tenant, subject: key.subject }, authorizationUrl, code)
    })
    this.#scene.look()
  }

  comeBack(process: Process, which: number, how: Step["back"]): void {
    const { browsers, judge, stage } = this.#scene
    const browser = browsers.at(which)
    if (browser === undefined) return
    stage.count(`step: come back ${how}`)
    const { context, received } = responseOf(browser, how)
    if (how !== "strange" && how !== "elsewhere") judge.flows.answered.add(browser.owner.id)
    process.run(Effect.flatMap(Flows, (flows) => Effect.ignore(flows.complete(received, { context }))))
    this.#scene.look()
  }

  /** The flow that began last is cancelled. */
  cancel(process: Process): void {
    const { browsers: { last }, stage } = this.#scene
    if (last === undefined) return
    stage.count("step: cancel")
    process.run(Effect.flatMap(Flows, (flows) => Effect.ignore(flows.cancel(last.owner))))
    this.#scene.look()
  }

  housekeep(process: Process): void {
    process.run(
      Effect.flatMap(
        Housekeeping,
        ({ replay, revoke, sweep }) =>
          Effect.all([Effect.ignore(replay), Effect.ignore(revoke), Effect.ignore(sweep)], { discard: true })
      )
    )
    this.#scene.look()
  }

  /** A kill: nobody who waited here is answered, and the next life finds what is durable. */
  die(process: Process, arrives: boolean): void {
    process.alive = false
    this.#scene.stage.abandon(process, arrives)
    this.housekeep(this.#scene.begin(process.slot))
  }

  /** The provider ends what a person consented to. */
  withdraw(owner: number): void {
    const { paths, provider } = this.#scene
    for (const { family } of provider.refreshTokens.values()) {
      if (family.path === paths[owner]) family.revoked = true
    }
  }

  /** Servers are described when somebody wants to connect: credentials can be deposited without. */
  #describe({ server: slug, tenant }: ConnectionKey): void {
    const { setting, theatre: { world: { servers } } } = this.#scene
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
        quirks: { redemptionPolicy: setting.policy }
      } as never)
    )
  }
}

const grantOf = (redemptionPolicy: RedemptionPolicy): Grant => ({
  issuer: "https://as.example",
  tokenEndpoint: endpoints.token,
  revocationEndpoint: "https://as.example/revoke",
  clientId: "client",
  authMethod: "none",
  redemptionPolicy
})
