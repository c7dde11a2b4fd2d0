import { Effect, type Scope } from "effect"
import { type AddressInfo, connect as dial, createServer, type Socket } from "node:net"

/** What the proxy does to connections: forwards, swallows every byte while it keeps them open, or resets them at once. */
export type Mode = "forward" | "blackhole" | "reset"

/** A TCP proxy in front of a database or a provider. */
export interface TcpProxy {
  readonly port: number
  /** The URL with this proxy in the place of its host and port. */
  through(url: string | URL): string
  /** Changes what happens to open and new connections from now on; swallowed bytes are lost. */
  setMode(mode: Mode): void
  /** Resets every open connection; new ones follow the mode. */
  resetAll(): void
  /** Bytes a black hole swallowed so far. */
  readonly swallowed: () => number
  /** Bytes that were passed on to the target so far: of a database, whatever was asked of it. */
  readonly asked: () => number
  /** Connections accepted so far. */
  readonly accepted: () => number
  /** Connections open now. */
  readonly open: () => number
}

/** Starts a proxy on 127.0.0.1 in front of a host and port until the scope closes. */
export const make = (target: { readonly host?: string; readonly port: number }): Effect.Effect<
  TcpProxy,
  never,
  Scope.Scope
> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly proxy: TcpProxy; readonly close: Effect.Effect<void> }>((resume) => {
      const pairs = new Set<readonly [Socket, Socket]>()
      let mode: Mode = "forward"
      let accepted = 0
      let swallowed = 0
      let asked = 0
      const resetAll = () => {
        for (const [near, far] of pairs) {
          near.resetAndDestroy()
          far.resetAndDestroy()
        }
      }
      const server = createServer({ allowHalfOpen: true }, (near) => {
        accepted++
        if (mode === "reset") return void near.resetAndDestroy()
        const far = dial({ host: target.host ?? "127.0.0.1", port: target.port, allowHalfOpen: true })
        const pair = [near, far] as const
        pairs.add(pair)
        for (const [from, to] of [pair, [far, near] as const]) {
          from.on("data", (chunk) => {
            if (mode !== "forward") swallowed += chunk.length
            else {
              if (to === far) asked += chunk.length
              to.write(chunk)
            }
          })
          from.on("end", () => {
            if (mode === "forward") to.end()
          })
          from.on("error", () => to.resetAndDestroy())
          from.on("close", () => {
            pairs.delete(pair)
            if (mode !== "blackhole") to.destroy()
          })
        }
      })
      server.once("error", (cause) => resume(Effect.die(cause)))
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        const proxy: TcpProxy = {
          port,
          through: (url) => {
            const moved = new URL(url)
            moved.hostname = "127.0.0.1"
            moved.port = String(port)
            return moved.href
          },
          setMode: (next) => {
            mode = next
            if (next === "reset") resetAll()
          },
          resetAll,
          swallowed: () => swallowed,
          asked: () => asked,
          accepted: () => accepted,
          open: () => pairs.size
        }
        const close = Effect.callback<void>((done) => {
          server.close(() => done(Effect.void))
          resetAll()
        })
        resume(Effect.succeed({ proxy, close }))
      })
    }),
    ({ close }) => close
  ).pipe(Effect.map(({ proxy }) => proxy))
