import type { Effect } from "effect"
import * as AuthorizedFetch from "./AuthorizedFetch.ts"
import { ValetkeyClient } from "./ValetkeyClient.ts"

/**
 * Makes a `fetch` for the resource of one server: an `AuthorizedFetch` whose tokens the Valetkey server hands out. Rejects
 * with a `ResourceError`, or as `fetch` does.
 */
export const make = (
  run: <A, E>(effect: Effect.Effect<A, E, ValetkeyClient>, signal: AbortSignal | undefined) => Promise<A>,
  server: string
): typeof fetch =>
  AuthorizedFetch.make(
    {
      token: (name, options) => ValetkeyClient.use((valetkey) => valetkey.token(name, options)),
      server: (name) => ValetkeyClient.use((valetkey) => valetkey.server(name))
    },
    run,
    server
  )
