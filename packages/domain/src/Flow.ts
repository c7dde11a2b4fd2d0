import { type DateTime, type Duration, Schema } from "effect"
import { AccountChange } from "./Account.ts"
import type { ConnectionKey, Grant } from "./Connection.ts"
import type { Digest } from "./Entropy.ts"
import { rowOf, type SealContext, type Sealed } from "./Sealed.ts"
import { HttpUrl } from "./Server.ts"
import { SignedResponseTerms } from "./SignedResponse.ts"
import type { TenantId } from "./Tenant.ts"

/** Schema for the run id of one attempt to obtain credentials. Not a secret: knowing it does not let anyone finish the flow. */
export const FlowId = Schema.String.check(Schema.isPattern(/^[0-9a-f-]{36}$/, { expected: "a flow id" })).pipe(
  Schema.brand("FlowId")
)
export type FlowId = typeof FlowId.Type

/** Schema for the states of a flow. */
export const FlowState = Schema.Literals([
  "pending",
  "awaiting_finalize",
  "exchanging",
  "completed",
  "failed",
  "outcome_unknown",
  "cancelled",
  "expired",
  "superseded"
])
export type FlowState = typeof FlowState.Type

const edges: { readonly [From in FlowState]: ReadonlyArray<FlowState> } = {
  pending: ["exchanging", "awaiting_finalize", "failed", "outcome_unknown", "cancelled", "expired", "superseded"],
  awaiting_finalize: ["exchanging", "failed", "cancelled", "expired", "superseded"],
  exchanging: ["awaiting_finalize", "completed", "failed", "outcome_unknown", "cancelled", "superseded"],
  completed: [],
  failed: [],
  outcome_unknown: [],
  cancelled: [],
  expired: [],
  superseded: []
}

/** Whether the state machine has the edge. Terminal states have none. */
export const canTransition = (from: FlowState, to: FlowState): boolean => edges[from].includes(to)

/** Whether the state never changes again. */
export const isTerminal = (state: FlowState): boolean => edges[state].length === 0

/** The states that hold a connection's slot: at most one flow per connection is in one of them. */
export const openStates: ReadonlyArray<FlowState> = FlowState.literals.filter((state) => !isTerminal(state))

/** Schema for why a flow failed. Each has one fixed sentence; causes go to the log. */
export const FlowFailure = Schema.Literals([
  "start_failed",
  "access_denied",
  "authorization_refused",
  "issuer_mismatch",
  "malformed_response",
  "response_mode_mismatch",
  "response_untrusted",
  "code_rejected",
  "client_misconfigured",
  "authorization_server_unavailable",
  "token_response_invalid",
  "id_token_invalid",
  "account_changed",
  "account_unconfirmed",
  "encryption_key_missing",
  "encryption_key_unavailable",
  "encryption_key_mismatch",
  "instance_mismatch",
  "integrity_error",
  "storage_failed"
])
export type FlowFailure = typeof FlowFailure.Type

/** The sentence that a person may read for each failure. */
export const failureSentence: { readonly [Code in FlowFailure]: string } = {
  start_failed: "The connection could not be started. Start it again; the server's log has the cause.",
  access_denied: "Access was denied at the provider. Start again if that was not intended.",
  authorization_refused:
    "The provider refused the authorization request. Check the requested scopes and the client registration.",
  issuer_mismatch:
    "The answer came from another authorization server than the one asked. Nothing was exchanged; start again.",
  malformed_response: "The provider's answer was malformed. Start again; if it repeats, report it to the provider.",
  response_mode_mismatch:
    "The provider's answer is not in the form that was asked for, signed or plain. Nothing was exchanged; check that the answer was not altered on its way, and the response modes of the provider.",
  response_untrusted:
    "The provider's signed answer cannot be trusted. Nothing was exchanged; the server's log names the check that failed.",
  code_rejected: "The provider refused the authorization code or the device code. Start again.",
  client_misconfigured:
    "The provider refused this client. Check the client registration of the server, then start again.",
  authorization_server_unavailable: "The provider could not be reached or is unavailable. Try again later.",
  token_response_invalid: "The provider's token answer could not be understood. The server's log has the cause.",
  id_token_invalid:
    "The provider's statement of who signed in cannot be trusted. Nothing was stored; check the issuer and the client of the server, then start again.",
  account_changed:
    "Another account signed in at the provider than the one of this connection, which stays as it was. Sign in there with that account, or disconnect first to connect another.",
  account_unconfirmed:
    "The provider did not say which account signed in, and this connection belongs to a known one. It stays as it was. Ask for the scope openid, or disconnect first.",
  encryption_key_missing: "No encryption key is available, so nothing was stored. Restore the key, then start again.",
  encryption_key_unavailable:
    "The encryption key of this attempt is not on the server that took the answer. Add it there, then start again.",
  encryption_key_mismatch:
    "An encryption key of the server is not the one that the installation knows. Restore the right key, then start again.",
  instance_mismatch:
    "The database belongs to another installation than the server that took the answer. Nothing was exchanged.",
  integrity_error:
    "What was stored for this attempt was altered, so nothing was exchanged. Start again, and find out who changes the database.",
  storage_failed: "The credentials could not be stored. Check the database, then start again."
}

/** Schema for how the authorization response comes back. */
export const TransportKind = Schema.Literals(["loopback", "gateway", "device", "paste"])
export type TransportKind = typeof TransportKind.Type

/** Schema for who must confirm before the code is exchanged: nobody else, or the embedding app through `finalize`. */
export const Confirmation = Schema.Literals(["none", "finalize"])
export type Confirmation = typeof Confirmation.Type

/** Schema for what a starter may do when another flow of the connection is still open. */
export const OnConflict = Schema.Literals(["reject", "join", "supersede"])
export type OnConflict = typeof OnConflict.Type

/** Schema for the part of a frozen authorization that needs no seal; stored as it is. */
export const AuthorizationSnapshot = Schema.Struct({
  authorizationEndpoint: HttpUrl,
  redirectUri: HttpUrl,
  /** RFC 9207 §3: whether the metadata promised an `iss` in every authorization response. */
  issRequired: Schema.Boolean,
  /** Present where the response was asked for as a signed token (JARM); then no other is taken, and elsewhere none such. */
  signedResponse: Schema.optionalKey(SignedResponseTerms),
  scopes: Schema.Array(Schema.String),
  /** What the person connects to, as the connect page tells it. */
  resource: Schema.optionalKey(HttpUrl),
  /** Where a browser goes on when the embedding application has to confirm. One of the registered return URLs. */
  returnTo: Schema.optionalKey(HttpUrl),
  /** The page of ours where the person began, to which the page that tells the outcome leads back. */
  back: Schema.optionalKey(HttpUrl),
  /** Whether an ID token was asked for, with a nonce, of an issuer that was named and not guessed. Otherwise one is dropped unread. */
  openid: Schema.optionalKey(Schema.Boolean),
  /** What becomes of a consent of another account. Default `refuse`. */
  accountChange: Schema.optionalKey(AccountChange),
  /** Whether the client was registered for this server alone, so that no connection of another server has grants of it. */
  clientOfServer: Schema.optionalKey(Schema.Boolean)
})
export type AuthorizationSnapshot = typeof AuthorizationSnapshot.Type

/** Schema for the part of a frozen device authorization that needs no seal (RFC 8628 §3.2). The user code is not kept. */
export const DeviceSnapshot = Schema.Struct({
  verificationUri: HttpUrl,
  scopes: Schema.Array(Schema.String),
  resource: Schema.optionalKey(HttpUrl),
  openid: AuthorizationSnapshot.fields.openid,
  accountChange: AuthorizationSnapshot.fields.accountChange,
  clientOfServer: AuthorizationSnapshot.fields.clientOfServer
})
export type DeviceSnapshot = typeof DeviceSnapshot.Type

/** Everything that `start` decided and the callback must find unchanged. */
export interface FrozenAuthorization {
  readonly snapshot: AuthorizationSnapshot
  readonly grant: Grant
  /** SHA-256 of `state`. */
  readonly stateHash: Digest
  /** SHA-256 of what binds the flow to a browser; absent where the transport binds by itself, and until a ticket is taken. */
  readonly bindingHash?: Digest | undefined
  /** The connection context named in the redirect URI; a callback on another one matches nothing. */
  readonly context: string
  /** Sealed as `code_verifier`, generation 0. */
  readonly codeVerifier: Sealed
  /** Sealed as `client_secret`, generation 0. */
  readonly clientSecret?: Sealed | undefined
}

/** What a flow keeps besides when its browser binds itself on the connect page. Without a binding such a flow cannot be claimed. */
export interface FrozenTicket {
  /** SHA-256 of the ticket. */
  readonly ticketHash: Digest
  /** Sealed as `authorization_url`, generation 0. It holds `state`: the browser that takes the ticket gets it and nobody else. */
  readonly authorizationUrl: Sealed
}

/** What a flow keeps while a person enters a user code elsewhere. There is no response to match: the device code is asked about. */
export interface FrozenDevice {
  readonly snapshot: DeviceSnapshot
  readonly grant: Grant
  /** Sealed as `device_code`, generation 0. */
  readonly deviceCode: Sealed
  /** Sealed as `client_secret`, generation 0. */
  readonly clientSecret?: Sealed | undefined
  /** The pause between two polls (RFC 8628 §3.5). The first poll is due after one. */
  readonly interval: Duration.Duration
  /** The flow ends no later than its device code. */
  readonly expiresIn: Duration.Duration
}

/** What a way to the consent rests on: a response that comes back with a browser, or a device code. */
export type FrozenWay = FrozenAuthorization | FrozenDevice

/** Whether the consent is given on another device, so that no response comes back. */
export const isDevice = (frozen: FrozenWay): frozen is FrozenDevice => "deviceCode" in frozen

/** One attempt to obtain credentials, as a store returns it. */
export interface Flow {
  readonly id: FlowId
  readonly key: ConnectionKey
  readonly state: FlowState
  readonly failure?: FlowFailure | undefined
  readonly transport: TransportKind
  readonly confirmation: Confirmation
  /** How often the flow was handed off to another transport. */
  readonly handOffs: number
  /** Absent until `start` froze it. */
  readonly snapshot?: AuthorizationSnapshot | DeviceSnapshot | undefined
  /** SHA-256 of the completion code; absent until a code is held, and kept after it. */
  readonly completionHash?: Digest | undefined
  readonly createdAt: DateTime.Utc
  readonly expiresAt: DateTime.Utc
  readonly settledAt?: DateTime.Utc | undefined
}

/** The page of ours where the person began a flow, if it was one. */
export const backOf = ({ snapshot }: Flow): string | undefined =>
  snapshot !== undefined && "back" in snapshot ? snapshot.back : undefined

/** The seal context of one of a flow's secrets. */
export const sealContext = (
  tenant: TenantId,
  id: FlowId,
  field: "code_verifier" | "client_secret" | "authorization_code" | "authorization_url" | "device_code"
): SealContext => ({ table: "flows", tenant, row: rowOf(id), field, generation: 0 })
