import { Effect, type Scope } from "effect"
import { type AddressInfo, connect as dial, createServer, type Socket } from "node:net"

/** What the proxy does to connections: forwards, swallows every byte while it keeps them open, or resets them at once. */
export type Mode = "forward" | "blackhole" | "reset"

/** What stands behind a proxy, and where the proxy stands. */
export interface Target {
  readonly host?: string
  readonly port: number
  /** Where the proxy listens; 127.0.0.1 and a free port by default. */
  readonly listen?: { readonly host: string; readonly port?: number }
  /** The address that the target sees, so that it can tell one proxy's clients from another's. */
  readonly from?: string
}

/** A TCP proxy in front of a database or a provider. */
export interface TcpProxy {
  readonly port: number
  /** The URL with this proxy in the place of its host and port. */
  through(url: string | URL): string
  /** Changes what happens to open and new connections from now on. A connection of which bytes were swallowed stays silent. */
  setMode(mode: Mode): void
  /** Holds every chunk back for so many milliseconds, both ways and in order, from now on. */
  setDelay(milliseconds: number): void
  /** Resets each connection after so many more bytes came from the target; `undefined` takes that back. */
  setResetAfter(bytes: number | undefined): void
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

/** Starts a proxy in front of a host and port until the scope closes. */
export const make = (target: Target): Effect.Effect<TcpProxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly proxy: TcpProxy; readonly close: Effect.Effect<void> }>((resume) => {
      const listening = target.listen ?? { host: "127.0.0.1" }
      const pairs = new Set<Pair>()
      const weather: Weather = { mode: "forward", delay: 0, resetAfter: undefined, swallowed: 0, asked: 0 }
      let accepted = 0
      const resetAll = () => pairs.forEach(reset)
      const server = createServer({ allowHalfOpen: true }, (near) => {
        accepted++
        if (weather.mode === "reset") return void near.resetAndDestroy()
        const far = dial({
          host: target.host ?? "127.0.0.1",
          port: target.port,
          allowHalfOpen: true,
          ...(target.from === undefined ? {} : { localAddress: target.from })
        })
        const pair: Pair = { near, far, left: weather.resetAfter, isBroken: false }
        pairs.add(pair)
        // In a black hole one side goes unheard by the other, which is still to be let go.
        const gone = () => near.destroyed && far.destroyed && pairs.delete(pair)
        carry(pair, near, far, weather, gone)
        carry(pair, far, near, weather, gone)
      })
      server.once("error", (cause) => resume(Effect.die(cause)))
      server.listen(listening.port ?? 0, listening.host, () => {
        const { port } = server.address() as AddressInfo
        const proxy: TcpProxy = {
          port,
          through: (url) => {
            const moved = new URL(url)
            moved.hostname = listening.host
            moved.port = String(port)
            return moved.href
          },
          setMode: (next) => {
            weather.mode = next
            if (next === "reset") resetAll()
          },
          setDelay: (milliseconds) => {
            weather.delay = milliseconds
          },
          setResetAfter: (bytes) => {
            weather.resetAfter = bytes
            for (const pair of pairs) pair.left = bytes
          },
          resetAll,
          swallowed: () => weather.swallowed,
          asked: () => weather.asked,
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

/** One connection on both sides of the proxy. */
interface Pair {
  readonly near: Socket
  readonly far: Socket
  /** Bytes that may still come from the target before the connection is reset. */
  left: number | undefined
  /** Whether bytes were lost. */
  isBroken: boolean
}

/** What happens to every connection now. */
interface Weather {
  mode: Mode
  delay: number
  resetAfter: number | undefined
  swallowed: number
  asked: number
}

const reset = ({ far, near }: Pair): void => {
  near.resetAndDestroy()
  far.resetAndDestroy()
}

/**
 * Carries one direction. Everything leaves in the order in which it came, whatever delays and resets are set meanwhile: TCP
 * loses connections, never bytes of one that lives, and never their order (RFC 9293 §3.4).
 */
const carry = (pair: Pair, from: Socket, to: Socket, weather: Weather, gone: () => void): void => {
  const held: Array<{ readonly due: number; readonly act: () => void }> = []
  let timer: NodeJS.Timeout | undefined
  const release = (): void => {
    timer = undefined
    for (let next = held[0]; next !== undefined; next = held[0]) {
      const wait = next.due - performance.now()
      if (wait > 0) return void (timer = setTimeout(release, wait))
      held.shift()
      next.act()
    }
  }
  const later = (act: () => void): void => {
    held.push({ due: performance.now() + weather.delay, act })
    if (timer === undefined) release()
  }
  from.on("data", (chunk: Buffer) => {
    // What lost bytes once stays silent: nothing that came later may stand in their place.
    if (pair.isBroken || weather.mode !== "forward") {
      pair.isBroken = true
      return void (weather.swallowed += chunk.length)
    }
    if (to === pair.far) weather.asked += chunk.length
    const left = from === pair.far ? pair.left : undefined
    if (left !== undefined && chunk.length > left) {
      pair.isBroken = true
      return later(() => void to.write(chunk.subarray(0, left), () => reset(pair)))
    }
    if (left !== undefined) pair.left = left - chunk.length
    later(() => void to.write(chunk))
  })
  from.on("end", () => {
    if (weather.mode === "forward") later(() => void to.end())
  })
  from.on("error", () => to.resetAndDestroy())
  from.on("close", () => {
    gone()
    if (weather.mode !== "blackhole") later(() => void to.destroy())
  })
}
