import { Redacted } from "effect"
import { type AskPerson, needsPerson, obtain } from "./Consent.ts"
import { challengeOf } from "./ConsentingFetch.ts"
import { handing } from "./internal/handing.ts"
import type { Run } from "./McpFetch.ts"

/** What the SDK's transports ask of an auth provider: a token before every request, and a new one after a 401. */
export interface McpAuthProvider {
  token(): Promise<string | undefined>
  onUnauthorized(context: { readonly response: Response }): Promise<void>
}

/**
 * Makes an `authProvider` for the transports of `@modelcontextprotocol/client`. It is not told which token a 401 was about:
 * after a replacement the next 401 is taken for one of the former token, and reported when it comes again. `McpFetch` knows,
 * and answers a request for more scopes too.
 */
export const make = (run: Run, options: { readonly server: string; readonly ask: AskPerson }): McpAuthProvider => {
  const { ask, server } = options
  const { current, refused } = handing(run, server)
  return {
    token: async () => {
      try {
        return Redacted.value((await current()).accessToken)
      } catch (error) {
        // The request goes without a token, and its 401 comes back here.
        if (needsPerson(error)) return undefined
        throw error
      }
    },
    onUnauthorized: async ({ response }) => {
      try {
        await current(refused())
      } catch (error) {
        if (!needsPerson(error)) throw error
        await run(obtain(server, challengeOf(response) ?? { scopes: undefined }, ask))
      }
    }
  }
}
