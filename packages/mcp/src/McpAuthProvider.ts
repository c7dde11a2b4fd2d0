import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Effect, Redacted } from "effect"
import { type AskPerson, needsPerson, obtain } from "./Consent.ts"
import { challengeOf } from "./ConsentingFetch.ts"
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
  let last: Redacted.Redacted | undefined
  let isReplacement = false

  const current = async (rejected?: Redacted.Redacted): Promise<string> => {
    const token = await run(
      Effect.flatMap(
        ValetkeyClient,
        (valetkey) => Effect.map(valetkey.token(server, { rejected }), ({ accessToken }) => accessToken)
      )
    )
    isReplacement = last !== undefined && Redacted.value(token) !== Redacted.value(last) || isReplacement
    last = token
    return Redacted.value(token)
  }

  return {
    token: async () => {
      try {
        return await current()
      } catch (error) {
        // The request goes without a token, and its 401 comes back here.
        if (needsPerson(error)) return undefined
        throw error
      }
    },
    onUnauthorized: async ({ response }) => {
      const rejected = isReplacement ? undefined : last
      isReplacement = false
      try {
        await current(rejected)
      } catch (error) {
        if (!needsPerson(error)) throw error
        await run(obtain(server, challengeOf(response) ?? { scopes: undefined }, ask))
      }
    }
  }
}
