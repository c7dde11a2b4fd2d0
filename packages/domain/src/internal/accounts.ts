import { Effect, Redacted, Schema } from "effect"
import { Account } from "../Account.ts"
import { type Cipher, CipherError } from "../Cipher.ts"
import { type Connection, type ConnectionKey, type Epoch, sealContext } from "../Connection.ts"
import type { Sealed } from "../Sealed.ts"

/** Seals whose credentials a life of a connection holds. The generation does not count: the account outlives a refresh. */
export const sealAccount = (
  cipher: Cipher["Service"],
  { epoch, key }: { readonly key: ConnectionKey; readonly epoch: Epoch },
  account: Account | undefined
): Effect.Effect<{ readonly account?: Sealed }, CipherError> =>
  account === undefined
    ? Effect.succeed({})
    : encode(account).pipe(
      Effect.orDie,
      Effect.flatMap((text) => cipher.seal(sealContext(key, epoch, "account", 0), Redacted.make(text))),
      Effect.map((sealed) => ({ account: sealed }))
    )

/** Opens whose credentials a connection holds; undefined where nobody knows. */
export const openAccount = (
  cipher: Cipher["Service"],
  { account, epoch, key }: Pick<Connection, "account" | "epoch" | "key">
): Effect.Effect<Account | undefined, CipherError> =>
  account === undefined
    ? Effect.undefined
    : cipher.open(sealContext(key, epoch, "account", 0), account).pipe(
      Effect.flatMap((text) =>
        // Whatever was sealed here was an account; what is in the text is told to nobody.
        Effect.mapError(decode(Redacted.value(text)), () => new CipherError({ code: "integrity_error" }))
      )
    )

const encode = Schema.encodeEffect(Schema.fromJsonString(Account))
const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Account))
