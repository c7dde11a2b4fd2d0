import { Context, type Duration, type Effect, type Option, Schema } from "effect"
import type { TransportKind } from "./Flow.ts"
import { rowOf, type SealContext, Sealed } from "./Sealed.ts"
import { HttpUrl, type ServerSlug, TokenEndpointAuthMethod } from "./Server.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** Whose registration it is: never shared between tenants, servers, issuers or transports. */
export interface RegistrationKey {
  readonly tenant: TenantId
  readonly server: ServerSlug
  readonly issuer: string
  readonly transport: TransportKind
}

/** Schema for a client as an authorization server registered it (RFC 7591 §3.2.1), with the redirect URI that it was registered for. */
export const Registration = Schema.Struct({
  clientId: Schema.String.check(Schema.isBetweenLength(1, 2048)),
  authMethod: TokenEndpointAuthMethod,
  clientSecret: Schema.optionalKey(Sealed),
  clientSecretExpiresAt: Schema.optionalKey(Schema.DateTimeUtc),
  /** Absent where no browser is ever sent back: a client of the device grant alone. */
  redirectUri: Schema.optionalKey(HttpUrl),
  /** The scopes that it was registered for (RFC 7591 §2); a server may refuse a request for more. */
  scopes: Schema.Array(Schema.String)
})
export type Registration = typeof Registration.Type

/** The seal context of a registration's client secret. */
export const sealContext = (key: RegistrationKey): SealContext => ({
  table: "registrations",
  tenant: key.tenant,
  row: rowOf(key.server, key.issuer, key.transport),
  field: "client_secret",
  generation: 0
})

/** Port: client registrations. */
export class RegistrationStore extends Context.Service<RegistrationStore, {
  /**
   * Takes the turn to register this client: of any number of callers one has it at a time, until it gives it back or `lease`
   * is over on the store's clock. False when another has it. A lost turn costs one registration more, nothing else.
   */
  take(key: RegistrationKey, turn: string, lease: Duration.Duration): Effect.Effect<boolean, StoreError>
  /** Gives a turn back; one that is another's by now stays. Idempotent. */
  give(key: RegistrationKey, turn: string): Effect.Effect<void, StoreError>
  get(key: RegistrationKey): Effect.Effect<Option.Option<Registration>, StoreError>
  /** Replaces what was there in one step. */
  put(key: RegistrationKey, registration: Registration): Effect.Effect<void, StoreError>
  /** Removes the registration if it still has this client id. Idempotent. */
  remove(key: RegistrationKey, clientId: string): Effect.Effect<void, StoreError>
  /**
   * Records a client id as that of a document of ours, for as long as there is the tenant: it outlives its registration and
   * every connection. Nothing else makes one so: what a deposit, a server's description or a registration says does not.
   * Idempotent.
   */
  record(tenant: TenantId, clientId: string): Effect.Effect<void, StoreError>
  /** Whether the client id was recorded, for whichever tenant. It is found by an index, whoever asks and how many there are. */
  isOnRecord(clientId: string): Effect.Effect<boolean, StoreError>
}>()("@valetkey/domain/RegistrationStore") {}
