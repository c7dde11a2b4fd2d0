import { Effect, type Scope } from "effect"
import { type LookupFunction, Socket } from "node:net"

/**
 * Records every address that this process would send a SYN to, and sends none.
 *
 * It stands below the client, where Node's own sockets connect: a literal host is a dial, and a name is resolved through
 * the socket's own lookup exactly as Node does it, once, and whatever comes out is a dial.
 */
export const record: Effect.Effect<ReadonlyArray<string>, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const dials: Array<string> = []
    const original = Socket.prototype.connect
    Socket.prototype.connect = function(this: Socket, ...args: ReadonlyArray<unknown>) {
      const options = optionsOf(args)
      const refuse = (error: Error = Object.assign(new Error("recorded"), { code: "ECONNREFUSED" })) => {
        process.nextTick(() => this.destroy(error))
      }
      if (options.lookup === undefined || /^[\d.]+$|:/.test(options.host)) {
        dials.push(options.host)
        refuse()
      } else {
        options.lookup(options.host, { all: true }, (error, addresses) => {
          if (error !== null) return refuse(error)
          for (const entry of addresses as unknown as ReadonlyArray<{ address: string }>) dials.push(entry.address)
          refuse()
        })
      }
      return this
    } as typeof original
    return { dials, original }
  }),
  ({ original }) => Effect.sync(() => void (Socket.prototype.connect = original))
).pipe(Effect.map(({ dials }) => dials))

const optionsOf = (args: ReadonlyArray<unknown>): { readonly host: string; readonly lookup?: LookupFunction } => {
  const [first] = args
  return (Array.isArray(first) ? first[0] : first) as { readonly host: string; readonly lookup?: LookupFunction }
}
