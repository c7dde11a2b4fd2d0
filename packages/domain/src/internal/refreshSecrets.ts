import { Cause, Effect, Option, Redacted } from "effect"
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
import { makeProvenKeys } from "./provenKeys.ts"

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
export const usedBy = ({ refreshToken }: Pick<RefreshSecrets, "refreshToken">): AuditRecord["secret"] =>
  refreshToken === undefined ? undefined : { purpose: "refresh_token", value: refreshToken }

/** The opening of what a redemption needs. */
export interface SecretsOfRefresh {
  /** Opens everything, and tries to seal: a token that cannot be stored must not be redeemed. */
  open(connection: Connection): Effect.Effect<RefreshSecrets, AccessTokenError>
  /** Opens the refresh token alone. */
  openToken(connection: Connection): Effect.Effect<Pick<RefreshSecrets, "proofKey" | "refreshToken">, AccessTokenError>
  /**
   * What has to be opened before a claim, so that nobody claims without the keys. Undefined where they have just served:
   * most of those who ask lose the claim, and only the winner opens then, before it marks anything as sent.
   */
  beforeClaim(connection: Connection): Effect.Effect<RefreshSecrets | undefined, AccessTokenError>
}

/** Builds the opening of what a redemption needs. */
export const makeRefreshSecrets = Effect.fnUntraced(function*(renew: Renew) {
  const cipher = yield* Cipher
  const clientSecretOf = makeClientSecrets(cipher, yield* ServerStore)
  const authorityOf = yield* makeAuthorities(clientSecretOf, renew)

  const keys = makeProvenKeys()

  const openToken = Effect.fnUntraced(function*({ credentials, epoch, generation, key }: Connection) {
    const token = credentials.refreshToken === undefined
      ? undefined
      : unbind(yield* cipher.open(sealContext(key, epoch, "refresh_token", generation), credentials.refreshToken))
    return { refreshToken: token?.secret, proofKey: token?.proofKey }
  })

  const openAll = Effect.fnUntraced(function*(connection: Connection) {
    const { epoch, generation, key } = connection
    yield* cipher.seal(sealContext(key, epoch, "access_token", generation), Redacted.make(""))
    return {
      ...(yield* openToken(connection)),
      account: yield* openAccount(cipher, connection),
      authority: yield* authorityOf(connection),
      clientSecret: yield* clientSecretOf(connection)
    }
  })

  const open = (connection: Connection): Effect.Effect<RefreshSecrets, AccessTokenError> =>
    openAll(connection).pipe(
      Effect.tap(() => keys.learn(connection)),
      Effect.onError((cause) =>
        Effect.sync(() => keys.forget(connection, Option.getOrUndefined(Cause.findErrorOption(cause))))
      )
    )

  const beforeClaim = Effect.fnUntraced(function*(
    connection: Connection
  ): Effect.fn.Return<RefreshSecrets | undefined, AccessTokenError> {
    if (!isRenewable(connection)) {
      return yield* new TokenError({ code: "reauthorization_required", reason: "no_refresh_token" })
    }
    return (yield* keys.holds(connection)) ? undefined : yield* open(connection)
  })

  return { open, openToken, beforeClaim } satisfies SecretsOfRefresh
})
