import { ConnectionKey } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import { ServerSlug } from "@valetkey/domain/Server"
import type { SpoolEntry } from "@valetkey/domain/Spool"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Browsers } from "./Browsers.ts"
import { Judge } from "./Judge.ts"
import * as Ports from "./Ports.ts"
import type { Process } from "./Process.ts"
import { type Issued, Provider } from "./Provider.ts"
import type { Setting } from "./Script.ts"
import { type Fault, Stage } from "./Stage.ts"
import type { Theatre } from "./Theatre.ts"
import { Trouble } from "./Trouble.ts"

/** What one history is played with: two people of different tenants, two replicas, a provider, and whoever judges. */
export class Scene {
  readonly stage = new Stage()
  readonly browsers = new Browsers()
  readonly trouble = new Trouble()
  readonly spools: ReadonlyArray<Map<string, SpoolEntry>> = [new Map(), new Map()]
  /** Who lives, by slot. */
  readonly processes: Array<Process> = []
  readonly theatre: Theatre
  readonly setting: Setting
  readonly provider: Provider
  readonly judge: Judge
  readonly keys: ReadonlyArray<ConnectionKey>
  readonly paths: ReadonlyArray<string>
  readonly #used: Array<Process> = []

  constructor(theatre: Theatre, setting: Setting) {
    this.theatre = theatre
    this.setting = setting
    this.provider = new Provider(setting.rotation)
    this.judge = new Judge({
      calm: setting.calm,
      policy: setting.policy,
      stage: this.stage,
      vault: theatre.vault,
      world: theatre.world,
      provider: this.provider
    })
    theatre.open(this)
    for (const slot of [0, 1]) this.begin(slot)
    // Tenants that no other history has: a process remembers some things of them.
    this.keys = ["a", "b"].map((name) =>
      new ConnectionKey({
        tenant: TenantId.make(`${name}${theatre.histories}`),
        subject: SubjectId.make("ada"),
        server: ServerSlug.make("mcp")
      })
    )
    this.paths = this.keys.map(({ path }) => path)
  }

  /** Another life begins in a slot. */
  begin(slot: number): Process {
    const process = this.theatre.lend(slot)
    this.#used.push(process)
    this.processes[slot] = process
    return process
  }

  look(): void {
    this.judge.look(this.paths)
  }

  /** One of those things that may happen now happens. */
  go(which: number, fault: Fault): void {
    const { open } = this.stage
    const turn = open[which % Math.max(1, open.length)]
    if (turn === undefined) return
    this.stage.take(turn, fault === "none" ? this.trouble.faultOf(turn.name) : fault)
    this.look()
  }

  /** Everything that is on its way arrives, in its order, and no time passes. */
  settle(): void {
    for (let left = 500; left > 0 && this.stage.open.length > 0; left--) this.go(0, "none")
  }

  /** Until nothing is on its way and nobody waits for a time. */
  quiesce(): void {
    for (let left = 300; left > 0; left--) {
      this.settle()
      const { wait } = this.stage
      if (wait === undefined) return
      this.stage.pass(wait)
      this.look()
    }
    this.judge.case.broken("I7", "there is no end of waiting")
  }

  credentialsOf(issued: Issued): Credentials {
    return Ports.credentialsOf(issued, this.stage.now, this.setting.lifetime)
  }

  /** Makes room for another history. Who played in one that broke something is not lent again. */
  close(): void {
    if (this.judge.case.violation === undefined) this.theatre.giveBack(this.#used)
    this.theatre.clear()
  }
}
