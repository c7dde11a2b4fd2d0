import { type DateTime, Duration, Effect, Option, Redacted, Schema } from "effect"
import type { Cipher, CipherError } from "./Cipher.ts"
import {
  type Connection,
  type ConnectionKey,
  type Generation,
  type Grant,
  ReauthReason,
  sealContext
} from "./Connection.ts"
import { unbind } from "./internal/boundSecrets.ts"
import { ownRow } from "./internal/ownRow.ts"
import type { StoreError } from "./StoreError.ts"

/** Error of asking for an access token, by what the caller can do next. */
export class TokenError extends Schema.TaggedError<TokenError>("valetkey/TokenError")("TokenError", {
  code: Schema.Literals([
    "connection_not_found",
    "reauthorization_required",
    "refresh_in_progress",
    "authorization_server_unavailable",
    "access_token_refused",
    "client_misconfigured",
    "identity_required",
    "workload_token_missing",
    "token_not_handed_out",
    "connection_quarantined"
  ]),
  reason: Schema.optionalKey(ReauthReason),
  retryAfter: Schema.optionalKey(Schema.Duration)
}) {
  override get message() {
    switch (this.code) {
      case "connection_not_found":
        return "There is no such connection; connect first"
      case "reauthorization_required":
        return "The connection needs the person's consent again; start a flow for it"
      case "refresh_in_progress":
        return "A refresh of this connection is under way; retry shortly"
      case "authorization_server_unavailable":
        return "The authorization server cannot refresh right now; retry later"
      case "access_token_refused":
        return "The resource refused a token that was obtained for it a moment ago; check what it expects, such as its scopes, before asking for another"
      case "client_misconfigured":
        return "The authorization server refuses the client; check the client registration of the server"
      case "identity_required":
        return "The person is not signed in at the identity provider whose word this server takes; connect that server first"
      case "workload_token_missing":
        return "The token of the platform cannot be read, or is lent to another tenant; check VALETKEY_WORKLOAD_TOKENS and the file that it names"
      case "token_not_handed_out":
        return "The connection keeps the identity of the person and no token for a resource; ask for a token of a server that takes its word"
      case "connection_quarantined":
        return "This instance is quarantined; confirm the takeover before it may use stored connections"
    }
  }
}

/** An access token that is good for the time the caller asked for. */
export interface AccessToken {
  readonly accessToken: Redacted.Redacted
  readonly tokenType: string
  /** The key that signs the proofs of each request, where the token is bound to one (RFC 9449 §7.1). */
  readonly proofKey?: Redacted.Redacted | undefined
  readonly expiresAt: DateTime.Utc | undefined
  readonly scopes: ReadonlyArray<string> | undefined
  readonly generation: Generation
  /** The resource that it is for, as consent or deposit named it: it may be sent nowhere else. */
  readonly destination: string | undefined
}

/** Where tokens of a grant may be sent, if consent or deposit said so. */
export const destinationOf = (grant: Grant): string | undefined => grant.destination ?? grant.resource

/** An access token as its type says that it is used. */
const usableOf = (opened: Redacted.Redacted, tokenType: string) => {
  const { proofKey, secret } = unbind(opened)
  return { accessToken: secret, tokenType, ...(proofKey !== undefined && isBound(tokenType) ? { proofKey } : {}) }
}

/** Whether tokens of this type are used with proofs of possession (RFC 9449 §5). */
export const isBound = (tokenType: string): boolean => tokenType.toLowerCase() === "dpop"

/** How long a token must stay valid when its caller does not say. */
export const defaultValidity = Duration.seconds(30)

/** Errors of asking for an access token. */
export type AccessTokenError = TokenError | CipherError | StoreError

/** The connection that was read for a key if it may hand out tokens, or the error that says why not. Dies of the row of another key. */
export const activeConnection = (
  key: ConnectionKey,
  found: Option.Option<Connection>
): Effect.Effect<Connection, TokenError> => Effect.flatMap(ownRow(key, found), activeOf)

const activeOf = (found: Option.Option<Connection>): Effect.Effect<Connection, TokenError> => {
  if (Option.isNone(found)) return Effect.fail(new TokenError({ code: "connection_not_found" }))
  const { status } = found.value
  switch (status._tag) {
    case "active":
      return Effect.succeed(found.value)
    case "needs_reauth":
      return Effect.fail(new TokenError({ code: "reauthorization_required", reason: status.reason }))
    case "revoking":
      return Effect.fail(new TokenError({ code: "connection_not_found" }))
    case "quarantined":
      return Effect.fail(new TokenError({ code: "connection_quarantined" }))
  }
}

/** Opens the access token of a connection. Undefined where nobody obtained one yet, whatever its times say. */
export const openAccessToken = (
  cipher: Cipher["Service"],
  connection: Connection
): Effect.Effect<AccessToken | undefined, CipherError> =>
  Effect.map(
    cipher.open(
      sealContext(connection.key, connection.epoch, "access_token", connection.generation),
      connection.credentials.accessToken
    ),
    (opened) => {
      const usable = usableOf(opened, connection.credentials.tokenType)
      return Redacted.value(usable.accessToken) === "" ? undefined : {
        ...usable,
        expiresAt: connection.credentials.expiresAt,
        scopes: connection.credentials.scopes,
        generation: connection.generation,
        destination: destinationOf(connection.grant)
      }
    }
  )
