import { Effect, type Scope } from "effect"
import { Agent, type IncomingMessage, request as ask, type ServerResponse } from "node:http"
import { listen } from "./LoopbackServer.ts"

/** A load balancer that knows nothing of the servers behind it: each request goes to one of them, and none is repeated. */
export interface ReverseProxy {
  readonly origin: string
  readonly port: number
  /** How many requests each target answered, in the order of the targets. */
  readonly answered: () => ReadonlyArray<number>
  /** How many requests had no answer and got a 502 in its place. */
  readonly failed: () => number
}

/** Starts a proxy on 127.0.0.1 until the scope closes. */
export const make = (options: {
  /** The port of each server on 127.0.0.1; none has to be there yet. */
  readonly targets: ReadonlyArray<number>
  /** The index of the next target; default one after the other. */
  readonly next?: () => number
}): Effect.Effect<ReverseProxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { targets } = options
    const answered = targets.map(() => 0)
    let failed = 0
    let turn = 0
    const next = options.next ?? (() => turn++ % targets.length)
    const agent = yield* Effect.acquireRelease(
      Effect.sync(() => new Agent({ keepAlive: true })),
      (agent) => Effect.sync(() => agent.destroy())
    )
    const forward = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
      const index = next()
      const { headers, method, url } = incoming
      const onward = ask({ agent, host: "127.0.0.1", port: targets[index], method, path: url, headers }, (answer) => {
        answered[index] = (answered[index] ?? 0) + 1
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
        answer.on("error", () => outgoing.destroy())
      })
      onward.on("error", () => {
        if (outgoing.headersSent) return void outgoing.destroy()
        failed++
        outgoing.writeHead(502, { "content-type": "application/json" }).end(`{"code":"bad_gateway"}`)
      })
      incoming.pipe(onward)
    }
    const { origin, port } = yield* listen(forward)
    return { origin, port, answered: () => [...answered], failed: () => failed }
  })
