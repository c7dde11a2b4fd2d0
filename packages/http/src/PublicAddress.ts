import type { ApiProblem } from "@valetkey/api/ApiProblem"
import { Context, Effect } from "effect"

/**
 * Where browsers find the console: the public URL, or what an application opens for them when it is asked; undefined when
 * there is none. Fails with what is to be done when there should be one and it cannot be opened.
 */
export const PublicAddress = Context.Reference<Effect.Effect<URL | undefined, ApiProblem>>(
  "@valetkey/http/PublicAddress",
  {
    defaultValue: () => Effect.undefined
  }
)
