import * as ResourceFetch from "@valetkey/client/ResourceFetch"
import type { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import type { Effect } from "effect"
import { type AskPerson, needsPerson, obtain } from "./Consent.ts"
import * as ConsentingFetch from "./ConsentingFetch.ts"

/** Runs what needs a Valetkey server, as `ManagedRuntime.runPromise` does. */
export type Run = <A, E>(effect: Effect.Effect<A, E, ValetkeyClient>, signal?: AbortSignal) => Promise<A>

/** What a `fetch` for one MCP server goes by. */
export interface McpFetchOptions {
  /** The name of the server at Valetkey. */
  readonly server: string
  /** Leads the person to the consent. Without it a request that needs one is refused with what Valetkey said. */
  readonly ask?: AskPerson | undefined
  /** How often one request may lead to a consent, 3 by default: a resource that is never satisfied ends there. */
  readonly maxConsents?: number | undefined
}

/**
 * Makes a `fetch` for the transports of the official MCP SDK, to be used in place of an auth provider: a `ConsentingFetch`
 * whose tokens come from Valetkey and are replaced when the server rejects them.
 */
export const make = (run: Run, { ask, maxConsents = 3, server }: McpFetchOptions): typeof fetch =>
  ConsentingFetch.make({
    authorized: ResourceFetch.make((effect, signal) => run(effect, signal), server),
    needsPerson,
    obtain: ask === undefined ? undefined : (missing) => run(obtain(server, missing, ask)),
    maxConsents
  })
