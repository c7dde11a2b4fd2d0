import { Effect, Redacted } from "effect"
import { type AccessTokenError, TokenError } from "../AccessToken.ts"
import type { Account } from "../Account.ts"
import type { AuditRecord } from "../AuditTrail.ts"
import type { Authority } from "../AuthorizationServer.ts"
import { Cipher } from "../Cipher.ts"
import { type Connection, isRenewable, sealContext } from "../Connection.ts"
import { ServerStore } from "../ServerStore.ts"
import { openAccount } from "./accounts.ts"
import { makeAuthorities, type Renew } from "./authorities.ts"
import { unbind } from "./boundSecrets.ts"
import { makeClientSecrets } from "./clientSecrets.ts"

/** What one redemption needs in clear. */
export interface RefreshSecrets {
  /** Undefined where nobody consented. */
  readonly refreshToken: Redacted.Redacted | undefined
  /** On whose word a token is asked for where there is no refresh token. */
  readonly authority: Authority
  readonly clientSecret: Redacted.Redacted | undefined
  /** The key that the refresh token is bound to, where it is. */
  readonly proofKey: Redacted.Redacted | undefined
  /** Whose the credentials are, where that is known. */
  readonly account: Account | undefined
}

/** What an audit event says was used. */
export const usedBy = ({ refreshToken }: RefreshSecrets): AuditRecord["secret"] =>
  refreshToken === undefined ? undefined : { purpose: "refresh_token", value: refreshToken }

/** Builds the opening of what a redemption needs before anything is claimed: without the key nothing is sent and nothing is marked. */
export const makeRefreshSecrets = Effect.fnUntraced(function*(renew: Renew) {
  const cipher = yield* Cipher
  const clientSecretOf = makeClientSecrets(cipher, yield* ServerStore)
  const authorityOf = yield* makeAuthorities(clientSecretOf, renew)

  return Effect.fnUntraced(function*(connection: Connection): Effect.fn.Return<RefreshSecrets, AccessTokenError> {
    const { credentials, epoch, generation, key } = connection
    if (!isRenewable(connection)) {
      return yield* new TokenError({ code: "reauthorization_required", reason: "no_refresh_token" })
    }
    // Sealing must work as well: a token that cannot be stored must not be redeemed.
    yield* cipher.seal(sealContext(key, epoch, "access_token", generation), Redacted.make(""))
    const refreshToken = credentials.refreshToken === undefined
      ? undefined
      : unbind(yield* cipher.open(sealContext(key, epoch, "refresh_token", generation), credentials.refreshToken))
    return {
      account: yield* openAccount(cipher, connection),
      refreshToken: refreshToken?.secret,
      proofKey: refreshToken?.proofKey,
      authority: yield* authorityOf(connection),
      clientSecret: yield* clientSecretOf(connection)
    }
  })
})
