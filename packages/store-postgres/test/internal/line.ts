import { Effect, Redacted, type Scope } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

/** A TCP line to a database that can be cut, go silent and heal. */
export interface Line {
  /** The URL of the database over this line. */
  readonly url: Redacted.Redacted
  /** Ends every connection and refuses new ones. */
  readonly cut: Effect.Effect<void>
  /** Swallows every byte both ways and accepts connections that never answer. */
  readonly silence: Effect.Effect<void>
  /** New connections work again; silent ones stay silent. */
  readonly heal: Effect.Effect<void>
}

/** Opens a line until the scope closes. */
export const make = (url: Redacted.Redacted): Effect.Effect<Line, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const target = new URL(Redacted.value(url))
        const state = { mode: "open" as "open" | "cut" | "silent" }
        const pairs = new Set<{ readonly near: Socket; readonly far: Socket; silent: boolean }>()
        const server = createServer((near) => {
          if (state.mode === "cut") return void near.destroy()
          const far = connect({ host: target.hostname, port: Number(target.port) })
          const pair = { near, far, silent: state.mode === "silent" }
          pairs.add(pair)
          near.on("data", (data) => pair.silent || far.write(data))
          far.on("data", (data) => pair.silent || near.write(data))
          for (const [one, other] of [[near, far], [far, near]] as const) {
            one.on("error", () => undefined)
            one.on("close", () => {
              pairs.delete(pair)
              other.destroy()
            })
          }
        })
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
        const near = new URL(target)
        near.port = String((server.address() as AddressInfo).port)
        near.hostname = "127.0.0.1"
        return { server, pairs, state, url: Redacted.make(near.href) }
      }),
      ({ pairs, server }) =>
        Effect.sync(() => {
          for (const { near } of pairs) near.destroy()
          server.close()
        })
    ),
    ({ pairs, state, url }) => ({
      url,
      cut: Effect.sync(() => {
        state.mode = "cut"
        for (const { near } of pairs) near.destroy()
      }),
      silence: Effect.sync(() => {
        state.mode = "silent"
        for (const pair of pairs) pair.silent = true
      }),
      heal: Effect.sync(() => {
        state.mode = "open"
      })
    })
  )
