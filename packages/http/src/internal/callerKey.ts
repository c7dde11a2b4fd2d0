import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ConnectionKey } from "@valetkey/domain/Connection"
import type { ServerSlug } from "@valetkey/domain/Server"
import { Effect } from "effect"

/** The key of the caller's connection to a server. Tenant and subject come from the credential alone. */
export const keyOf = (server: ServerSlug): Effect.Effect<ConnectionKey, never, CurrentPrincipal> =>
  Effect.map(CurrentPrincipal, ({ subject, tenant }) => new ConnectionKey({ tenant, subject, server }))
