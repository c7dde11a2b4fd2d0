import { Effect, type Scope } from "effect"
import type * as Undici from "undici"
import type { Trust } from "../AddressPolicy.ts"
import { type DialOptions, makeConnector } from "./guard.ts"

/** The connections of one client, by trust, so that no request ever rides on a connection made for another trust. */
export interface Dispatchers {
  /** Connections that several requests may use, one after the other. */
  shared(trust: Trust): Effect.Effect<Undici.Dispatcher>
  /** A connection for one request, gone with its scope. */
  own(trust: Trust, url: URL): Effect.Effect<Undici.Dispatcher, never, Scope.Scope>
}

/** Opens nothing yet: undici is loaded by the first request, because it would double a server's start. */
export const openDispatchers = (
  options: Omit<DialOptions, "trust">
): Effect.Effect<Dispatchers, never, Scope.Scope> =>
  Effect.gen(function*() {
    const agents = new Map<Trust, Undici.Dispatcher>()
    let loading: Promise<typeof Undici> | undefined
    const undici = Effect.promise(() => loading ??= import("undici"))

    yield* Effect.addFinalizer(() => Effect.sync(() => agents.forEach(destroy)))

    return {
      shared: Effect.fnUntraced(function*(trust) {
        const { Agent, buildConnector } = yield* undici
        const existing = agents.get(trust)
        if (existing !== undefined) return existing
        const agent = new Agent({ allowH2: false, connect: makeConnector(buildConnector, { ...options, trust }) })
        agents.set(trust, agent)
        return agent
      }),
      own: Effect.fnUntraced(function*(trust, url) {
        const { Client, buildConnector } = yield* undici
        return yield* Effect.acquireRelease(
          Effect.sync(() =>
            new Client(url.origin, {
              allowH2: false,
              pipelining: 0,
              connect: makeConnector(buildConnector, { ...options, trust })
            })
          ),
          (client) => Effect.sync(() => destroy(client))
        )
      })
    }
  })

const destroy = (dispatcher: Undici.Dispatcher): void => {
  dispatcher.destroy(closed).catch(() => undefined)
}

/** What is under way ends with it. One for all: undici makes an error with a stack of its own for each connection otherwise. */
const closed = Object.assign(new Error("closed"), { code: "UND_ERR_DESTROYED" })
