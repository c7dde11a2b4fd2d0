import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Cause, Context, Duration, Exit } from "effect"
import type { Acts } from "./Acts.ts"
import type { Scene } from "./Scene.ts"

/** How a history ends: everybody goes on, nothing is slow any more, and every promise that takes time must come true. */
export class Ending {
  readonly #scene: Scene
  readonly #acts: Acts

  constructor(scene: Scene, acts: Acts) {
    this.#scene = scene
    this.#acts = acts
  }

  perform(): void {
    const { judge, keys, paths, processes, stage, theatre, trouble } = this.#scene
    for (const process of processes) process.stopped = false
    trouble.end()
    this.#scene.quiesce()
    this.#tidy()
    for (const owner of keys.keys()) this.#probe(owner)
    this.#tidy()
    if (theatre.world.flows.size > 0) {
      // Longer than a flow lives.
      stage.pass(Duration.toMillis("20 minutes"))
      this.#acts.housekeep(processes[0]!)
      this.#scene.quiesce()
    }
    if (judge.case.violation === undefined) judge.end(paths)
  }

  /** What the spools hold is settled, and what is owed is revoked. */
  #tidy(): void {
    const { processes, spools, stage, theatre } = this.#scene
    for (const process of processes) {
      if (spools[process.slot]!.size > 0) stage.count("a result waits in the spool")
      if (spools[process.slot]!.size === 0 && theatre.world.outbox.size === 0) continue
      this.#acts.housekeep(process)
      this.#scene.quiesce()
    }
  }

  /** Whether the row says by itself that whoever asks is answered at once. */
  #atRest(path: string): boolean {
    const { stage, theatre: { world: { connections, endpoints } } } = this.#scene
    const row = connections.get(path)
    if (row === undefined) return true
    return endpoints.size === 0 && row.phase === "idle" && row.notBefore <= stage.now && row.attempts === 0 &&
      !row.connection.rejected
  }

  /** Asks for a token until there is an answer that lasts. */
  #probe(owner: number): void {
    const { judge, keys, paths, processes, stage } = this.#scene
    const path = paths[owner]!
    if (this.#atRest(path)) return
    let answer = ""
    for (let left = 6; left > 0; left--) {
      let retryAfter = 0
      const process = processes[left % 2]!
      const tokens = Context.get(process.context, AccessTokens)
      process.run(tokens.get(keys[owner]!), (exit) => {
        answer = Exit.match(exit, {
          onSuccess: () => "token",
          onFailure: (cause) => {
            const error = Cause.squash(cause) as { readonly code?: string; readonly retryAfter?: Duration.Duration }
            retryAfter = Duration.toMillis(error.retryAfter ?? Duration.seconds(1))
            return error.code ?? String(error)
          }
        })
      })
      this.#scene.quiesce()
      if (["token", "reauthorization_required", "connection_not_found"].includes(answer)) break
      stage.pass(retryAfter)
    }
    judge.settled(path, answer)
  }
}
