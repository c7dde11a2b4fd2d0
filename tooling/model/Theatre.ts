import type { AuthorizationServerMetadata } from "@valetkey/domain/AuthorizationServer"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import { Context, Effect, Layer, Scope } from "effect"
import type { Judge } from "./Judge.ts"
import { Process } from "./Process.ts"
import type { Scene } from "./Scene.ts"
import type { Stage } from "./Stage.ts"
import { entropyOf, Vault } from "./Vault.ts"

/** A store or two of a build that is broken on purpose. */
export type Breakage = (theatre: Theatre) => {
  readonly connections?: Partial<ConnectionStore["Service"]>
  readonly flows?: Partial<FlowStore["Service"]>
}

/** What histories share, one after another: the memory store, which each of them finds empty, and processes to lend. */
export class Theatre {
  readonly vault = new Vault()
  readonly entropy = entropyOf(() => this.stage.next())
  readonly stores: Context.Context<MemoryStore.Ports | MemoryWorld> = Effect.runSync(
    Layer.buildWithScope(MemoryStore.layer, Scope.makeUnsafe())
  )
  readonly world: MemoryWorld["Service"] = Context.get(this.stores, MemoryWorld)
  readonly connections: ConnectionStore["Service"] = { ...Context.get(this.stores, ConnectionStore) }
  readonly flows: FlowStore["Service"] = { ...Context.get(this.stores, FlowStore) }
  readonly metadata: AuthorizationServerMetadata = {
    issuer: "https://as.example",
    authorizationEndpoint: "https://as.example/authorize",
    tokenEndpoint: "https://as.example/token",
    revocationEndpoint: "https://as.example/revoke",
    issRequired: true,
    authMethods: ["none"],
    resource: "https://mcp.example/mcp"
  }
  /** What is on. */
  scene!: Scene
  /** How many histories there were. */
  histories = 0
  #idle: Array<Process> = []

  constructor(breakage?: Breakage) {
    const broken = breakage?.(this)
    Object.assign(this.connections, broken?.connections)
    Object.assign(this.flows, broken?.flows)
  }

  get stage(): Stage {
    return this.scene.stage
  }

  get judge(): Judge {
    return this.scene.judge
  }

  open(scene: Scene): void {
    this.scene = scene
  }

  /** Empties the store for another history. */
  clear(): void {
    this.vault.empty()
    const { connections, endpoints, flows, forgotten, outbox, receipts, servers, slots, states } = this.world
    for (const map of [connections, endpoints, flows, forgotten, outbox, receipts, servers, slots, states]) map.clear()
    this.histories++
  }

  lend(slot: number): Process {
    return (this.#idle.pop() ?? new Process(this)).enter(slot)
  }

  /** Takes back those that lived until everything they waited for was over; who was killed waits for something for ever. */
  giveBack(processes: ReadonlyArray<Process>): void {
    this.#idle.push(...processes.filter(({ alive }) => alive))
  }
}
