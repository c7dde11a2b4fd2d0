import { Context } from "effect"

/** The public URL, where browsers arrive; undefined when there is none. An application that has one provides it. */
export const PublicAddress = Context.Reference<URL | undefined>("@valetkey/http/PublicAddress", {
  defaultValue: () => undefined
})
