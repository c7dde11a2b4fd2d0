import { Effect } from "effect"
import type { Cipher, CipherError } from "../Cipher.ts"
import { type ConnectionKey, type Epoch, sealContext, type SealedCredentials } from "../Connection.ts"
import type { Credentials } from "../Credentials.ts"
import { bind } from "./boundSecrets.ts"

/** Seals the secrets of credentials for one generation of a connection. */
export const sealCredentials = Effect.fnUntraced(function*(
  cipher: Cipher["Service"],
  row: { readonly key: ConnectionKey; readonly epoch: Epoch; readonly generation: number },
  credentials: Credentials
): Effect.fn.Return<SealedCredentials, CipherError> {
  const accessToken = yield* cipher.seal(
    sealContext(row.key, row.epoch, "access_token", row.generation),
    bind(credentials.accessToken, credentials.proofKey)
  )
  const refreshToken = credentials.refreshToken === undefined
    ? undefined
    : yield* cipher.seal(
      sealContext(row.key, row.epoch, "refresh_token", row.generation),
      bind(credentials.refreshToken, credentials.proofKey)
    )
  return {
    accessToken,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    tokenType: credentials.tokenType,
    ...(credentials.scopes === undefined ? {} : { scopes: credentials.scopes }),
    issuedAt: credentials.issuedAt,
    ...(credentials.expiresAt === undefined ? {} : { expiresAt: credentials.expiresAt }),
    ...(credentials.refreshExpiresAt === undefined ? {} : { refreshExpiresAt: credentials.refreshExpiresAt })
  }
})
