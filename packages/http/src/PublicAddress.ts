import { Context, Effect } from "effect"

/**
 * Where browsers find the console: the public URL, or what an application opens for them when it is asked; undefined when
 * there is none.
 */
export const PublicAddress = Context.Reference<Effect.Effect<URL | undefined>>("@valetkey/http/PublicAddress", {
  defaultValue: () => Effect.undefined
})
