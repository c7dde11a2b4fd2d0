import { Effect, Redacted, Schema } from "effect"
import type { AuthorizationServer, AuthorizationServerMetadata, PushRequest } from "../AuthorizationServer.ts"
import type { ConnectionKey } from "../Connection.ts"
import { TransportKind } from "../Flow.ts"
import type { RegistrationStore } from "../RegistrationStore.ts"
import { HttpUrl, type Server, TokenEndpointAuthMethod } from "../Server.ts"
import type { Client } from "./clients.ts"

/** What is pushed for a flow; undefined where the authorization server takes its requests from the browser. */
export const pushOf = (
  { quirks }: Server,
  metadata: AuthorizationServerMetadata,
  { authMethod, clientId, clientSecret }: Client,
  authorizationUrl: Redacted.Redacted
): PushRequest | undefined => {
  const { authorizationEndpoint, issuer, pushedAuthorizationEndpoint: endpoint, requiresPush, resource } = metadata
  if (endpoint === undefined || authorizationEndpoint === undefined) return undefined
  if (requiresPush !== true && quirks.pushedAuthorization !== true) return undefined
  return {
    endpoint,
    issuer,
    origin: resource,
    authorizationEndpoint,
    clientId,
    authMethod,
    ...(clientSecret === undefined ? {} : { clientSecret }),
    authorizationUrl
  }
}

const Secret = Schema.RedactedFromValue(Schema.String)

const Written = Schema.fromJsonString(Schema.Struct({
  endpoint: HttpUrl,
  issuer: HttpUrl,
  origin: HttpUrl,
  authorizationEndpoint: HttpUrl,
  clientId: Schema.String,
  authMethod: TokenEndpointAuthMethod,
  clientSecret: Schema.optional(Secret),
  authorizationUrl: Secret
}))

const encode = Schema.encodeEffect(Written)
const decode = Schema.decodeEffect(Written)

/**
 * What a ticket keeps in place of its authorization URL: a reference lives for a minute and a ticket for longer, so the
 * request is pushed when its browser leaves. A URL without a push is written as ever.
 */
export const written = (request: PushRequest): Effect.Effect<Redacted.Redacted> =>
  Effect.map(Effect.orDie(encode(request)), (text) => Redacted.make(text))

/** What a ticket kept. */
export const read = (kept: Redacted.Redacted): Effect.Effect<PushRequest | Redacted.Redacted> =>
  Redacted.value(kept).startsWith("{") ? Effect.orDie(decode(Redacted.value(kept))) : Effect.succeed(kept)

/** Builds the push at a departure. A registration that the server does not know any more is not offered to the next flow. */
export const makePushing = (
  authorizationServer: AuthorizationServer["Service"],
  registrations: RegistrationStore["Service"]
) =>
({ server, tenant }: ConnectionKey, request: PushRequest) =>
  authorizationServer.push(request).pipe(
    Effect.tapError(({ code }) =>
      code !== "client_refused" ? Effect.void : Effect.forEach(
        TransportKind.literals,
        (transport) => registrations.remove({ tenant, server, issuer: request.issuer, transport }, request.clientId),
        { discard: true }
      ).pipe(Effect.catch((error) => Effect.logWarning("refused client not forgotten", error)))
    )
  )
