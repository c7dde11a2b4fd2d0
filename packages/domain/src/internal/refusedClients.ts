import { Effect } from "effect"
import type { RedemptionError } from "../AuthorizationServer.ts"
import type { ConnectionKey, Grant } from "../Connection.ts"
import { TransportKind } from "../Flow.ts"
import type { RegistrationStore } from "../RegistrationStore.ts"

/**
 * Forgets a registration that the authorization server does not know any more, so that it is not offered to the next flow.
 * Nothing else changes: the connection keeps its credentials.
 */
export const makeRefusedClients = (registrations: RegistrationStore["Service"]) =>
(
  { clientId, issuer }: Pick<Grant, "clientId" | "issuer">,
  { server, tenant }: ConnectionKey,
  { reason }: RedemptionError
): Effect.Effect<void> =>
  reason._tag !== "Configuration" || !["invalid_client", "unauthorized_client"].includes(reason.error)
    ? Effect.void
    : Effect.forEach(
      TransportKind.literals,
      (transport) => registrations.remove({ tenant, server, issuer, transport }, clientId),
      { discard: true }
    ).pipe(Effect.catch((error) => Effect.logWarning("refused client not forgotten", error)))
