import { Acts } from "./Acts.ts"
import type { Violation } from "./Case.ts"
import { Ending } from "./Ending.ts"
import { Scene } from "./Scene.ts"
import type { Setting, Step } from "./Script.ts"
import type { Theatre } from "./Theatre.ts"

/** What a history came to. */
export interface Played {
  readonly violation: Violation | undefined
  readonly seen: ReadonlyMap<string, number>
}

/** One history: what its script has everybody do, and its end. */
export class Play {
  readonly #scene: Scene
  readonly #acts: Acts

  constructor(theatre: Theatre, setting: Setting) {
    this.#scene = new Scene(theatre, setting)
    this.#acts = new Acts(this.#scene)
  }

  /** Plays the steps, lets everything come to its end, and says what was broken. */
  perform(steps: ReadonlyArray<Step>): Played {
    const { judge, processes, setting, stage } = this.#scene
    this.#acts.consent(0)
    this.#scene.settle()
    if (setting.both) {
      this.#acts.consent(1)
      this.#scene.settle()
    }
    if (setting.race) { for (const process of processes) this.#acts.ask(0, process, "plain") }
    for (const step of steps) {
      if (judge.case.violation !== undefined) break
      this.#step(step)
    }
    if (judge.case.violation === undefined) new Ending(this.#scene, this.#acts).perform()
    this.#scene.close()
    return { violation: judge.case.violation, seen: stage.seen }
  }

  #step(step: Step): void {
    const { processes, setting: { both, calm }, stage, trouble } = this.#scene
    const process = processes[step.replica]!
    const owner = both ? step.owner : 0
    const seen = (what: string) => stage.count(`step: ${what}`)
    switch (step.do) {
      case "go":
        return this.#scene.go(step.which, calm ? "none" : step.fault)
      case "rush": {
        for (let left = 6; left > 0; left--) this.#scene.go(step.which, "none")
        return
      }
      case "wait":
        // What is on its way when nothing is slow arrives before time passes.
        if (calm) this.#scene.settle()
        seen("wait")
        stage.pass(step.millis)
        return this.#scene.look()
      case "ask":
        if (process.stopped) return
        seen(`ask ${step.how}`)
        return this.#acts.ask(owner, process, step.how)
      case "consent":
        if (process.stopped) return
        seen("deposit")
        return this.#acts.consent(owner, process)
      case "disconnect":
        if (process.stopped) return
        seen("disconnect")
        return this.#acts.disconnect(owner, process)
      case "start":
        if (process.stopped) return
        seen("start")
        return this.#acts.start(owner, process, step.conflict)
      case "come back":
        if (process.stopped) return
        return this.#acts.comeBack(process, step.which, step.back)
      case "cancel":
        if (process.stopped) return
        return this.#acts.cancel(process)
      case "housekeeping":
        if (process.stopped) return
        seen("housekeeping")
        return this.#acts.housekeep(process)
      case "die":
        if (calm) return
        seen("die")
        return this.#acts.die(process, step.arrives)
      case "stop":
        if (calm) return
        seen(process.stopped ? "go on" : "stop")
        process.late = true
        process.stopped = !process.stopped
        return
      case "provider fails":
        if (calm) return
        seen(`provider fails ${step.lost} ${step.fault}`)
        return trouble.failNext(step.lost, step.fault)
      case "outage":
        if (calm) return
        seen("outage")
        return trouble.turnOutage()
      case "withdraw":
        this.#acts.withdraw(owner)
        return seen("withdraw")
    }
  }
}
