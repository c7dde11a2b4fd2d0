import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Redacted } from "effect"
import type { Run } from "../McpFetch.ts"

/**
 * Hands out the tokens of one server to an SDK that does not say which token a refusal was about: after a replacement the next
 * refusal is taken for one of the former token.
 */
export const handing = (run: Run, server: string) => {
  let last: Redacted.Redacted | undefined
  let isReplacement = false
  return {
    /** The present token, or another one than that which was refused. */
    current: async (rejected?: Redacted.Redacted) => {
      const token = await run(ValetkeyClient.use((valetkey) => valetkey.token(server, { rejected })))
      isReplacement = last !== undefined && Redacted.value(token.accessToken) !== Redacted.value(last) || isReplacement
      last = token.accessToken
      return token
    },
    /** The token that a refusal is about, where that is known. */
    refused: (): Redacted.Redacted | undefined => {
      const rejected = isReplacement ? undefined : last
      isReplacement = false
      return rejected
    }
  }
}
