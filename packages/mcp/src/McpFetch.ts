import * as ResourceFetch from "@valetkey/client/ResourceFetch"
import type { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import type { Effect } from "effect"
import { type AskPerson, challengeOf, type Missing, moreScopesOf, needsPerson, obtain } from "./Consent.ts"

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
 * Makes a `fetch` for the transports of the official MCP SDK, to be used in place of an auth provider. Tokens come from
 * Valetkey and are replaced when the server rejects them. Without a connection a request goes without a token, and a person
 * is asked when the server refuses it, for what the refusal names; and once more when it wants more scopes, for all of them
 * together. Requests that wait for the same person share one consent.
 *
 * @see MCP Authorization, "Scope Selection Strategy" and "Scope Challenge Handling"
 */
export const make = (run: Run, { ask, maxConsents = 3, server }: McpFetchOptions): typeof fetch => {
  const authorized = ResourceFetch.make((effect, signal) => run(effect, signal), server)
  const asking = new Map<string, Promise<void>>()

  const share = ({ scopes }: Missing, ask: AskPerson): Promise<void> => {
    const wanted = scopes?.toSorted().join(" ") ?? ""
    const running = asking.get(wanted)
    if (running !== undefined) return running
    const next = run(obtain(server, { scopes }, ask)).finally(() => asking.delete(wanted))
    asking.set(wanted, next)
    return next
  }

  /** The answer, or what only a person can give, with the error that says so when it was one. */
  const attempt = async (
    input: RequestInfo | URL,
    init: RequestInit | undefined
  ): Promise<Response | { readonly missing: Missing; readonly error: unknown }> => {
    const again = () => input instanceof Request ? input.clone() : input
    try {
      return await authorized(again(), init)
    } catch (error) {
      const more = moreScopesOf(error)
      if (ask === undefined || !needsPerson(error) && more === undefined) throw error
      if (more !== undefined) return { missing: more, error }
      // Redirects lead to whoever the server likes; without a token that is the server's own business.
      const answer = await fetch(again(), init)
      const missing = challengeOf(answer)
      if (missing === undefined) return answer
      await answer.body?.cancel()
      return { missing, error }
    }
  }

  return async (input, init) => {
    for (let consents = 0;; consents++) {
      const outcome = await attempt(input, init)
      if (outcome instanceof Response) return outcome
      if (ask === undefined || consents === maxConsents || init?.body instanceof ReadableStream) {
        throw outcome.error
      }
      await share(outcome.missing, ask)
    }
  }
}
