import { Context, type DateTime, Duration, Effect, Layer, Option, type Redacted, Schema } from "effect"
import { TokenError } from "./AccessToken.ts"
import type { Account } from "./Account.ts"
import type { AuditTrail } from "./AuditTrail.ts"
import { Cipher, type CipherError } from "./Cipher.ts"
import { type Connection, type ConnectionKey, Epoch, type Grant, sealContext } from "./Connection.ts"
import { ConnectionStore } from "./ConnectionStore.ts"
import type { Credentials } from "./Credentials.ts"
import { Entropy } from "./Entropy.ts"
import { openAccount, sealAccount } from "./internal/accounts.ts"
import { makeAuditing } from "./internal/auditing.ts"
import { makeOwnRows } from "./internal/ownRow.ts"
import { sealCredentials } from "./internal/sealing.ts"
import type { ServerSlug } from "./Server.ts"
import { connectionTopic, Signals } from "./Signals.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Credentials that were obtained elsewhere, with what a refresh must know. */
export interface Deposit {
  readonly grant: Grant
  readonly clientSecret?: Redacted.Redacted | undefined
  /** With the account that they are said to belong to. */
  readonly credentials: Credentials
  /** When the person consented, where its holder knows that. */
  readonly grantedAt?: DateTime.Utc | undefined
}

/** What must be there for a deposit to be stored: anything, nothing, or credentials of this generation (RFC 9110 §13.1.1). */
export type DepositCondition =
  | { readonly _tag: "Any" }
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Generation"; readonly generation: number }

/** Error of a deposit that would overwrite what its caller did not mean to. Nothing was changed. */
export class DepositConflict
  extends Schema.TaggedError<DepositConflict>("valetkey/DepositConflict")("DepositConflict", {
    code: Schema.Literals(["connection_exists", "generation_mismatch"])
  })
{
  override get message() {
    return this.code === "connection_exists"
      ? "There is a connection already; deposit with replace, or with If-Match and the generation that it replaces"
      : "The connection is not at the generation that the request names; read it again, then decide"
  }
}

/** Use case: what a person has connected. Nothing here returns a secret. */
export class Connections extends Context.Service<Connections, {
  get(key: ConnectionKey): Effect.Effect<Connection, TokenError | StoreError>
  /** A page of the owner's connections in the order of slugs, after the given one. */
  list(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly after: ServerSlug | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<Connection>, StoreError>
  /**
   * Whose credentials a connection holds at the provider; undefined where nobody said, and where there is no key to read
   * it with. It is for people to read: what compares accounts fails instead.
   */
  account(connection: Connection): Effect.Effect<Account | undefined>
  /**
   * Seals and stores credentials obtained elsewhere under a new epoch, if the condition holds (default `Any`) in the same
   * step; late results for older credentials are void. Their holder answers for the account that it names, and one that
   * was known before is not asked for. True when there was no connection. A connection that was ended
   * counts as none.
   */
  deposit(
    key: ConnectionKey,
    deposit: Deposit,
    condition?: DepositCondition
  ): Effect.Effect<boolean, CipherError | DepositConflict | StoreError>
  /** Refuses tokens at once on every replica and owes the revocation to the authorization server. Works without a key. Idempotent. */
  disconnect(key: ConnectionKey): Effect.Effect<void, StoreError>
  /**
   * Deletes the connection here and leaves its grant at the authorization server alone: for credentials that are kept
   * elsewhere from now on. Refused when the generation is not the one that was taken there, or, with
   * `refresh_in_progress`, when a refresh is under way or an attempt of unknown outcome waits for another: then nobody
   * can say who holds the good token.
   */
  forget(key: ConnectionKey, generation: number): Effect.Effect<void, DepositConflict | TokenError | StoreError>
}>()("@valetkey/domain/Connections") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<Connections, never, AuditTrail | Cipher | ConnectionStore | Entropy | Signals> =
    Layer
      .effect(
        Connections,
        Effect.gen(function*() {
          const store = yield* ConnectionStore
          const rows = yield* makeOwnRows
          const cipher = yield* Cipher
          const entropy = yield* Entropy
          const signals = yield* Signals
          const audit = yield* makeAuditing

          return Connections.of({
            get: Effect.fnUntraced(function*(key) {
              const connection = yield* rows.get(key)
              return Option.isNone(connection)
                ? yield* new TokenError({ code: "connection_not_found" })
                : connection.value
            }),
            list: rows.list,
            account: (connection) =>
              Effect.catch(openAccount(cipher, connection), (error) =>
                error.code === "encryption_key_missing"
                  ? Effect.undefined
                  : Effect.as(
                    Effect.logWarning(
                      "the account of a connection does not open",
                      { server: connection.key.server },
                      error
                    ),
                    undefined
                  )),
            deposit: Effect.fn("Connections.deposit")(function*(key, deposit, condition = { _tag: "Any" }) {
              const epoch = Epoch.make(yield* entropy.id)
              while (true) {
                const current = yield* rows.get(key)
                const previous = Option.isNone(current) ? 0 : current.value.generation
                const isAbsent = Option.isNone(current) || current.value.status._tag === "revoking"
                if (condition._tag === "Absent" && !isAbsent) {
                  return yield* new DepositConflict({ code: "connection_exists" })
                }
                if (condition._tag === "Generation" && (isAbsent || previous !== condition.generation)) {
                  return yield* new DepositConflict({ code: "generation_mismatch" })
                }
                const stored = yield* store.deposit(key, {
                  epoch,
                  previous,
                  grant: deposit.grant,
                  ...(deposit.clientSecret === undefined
                    ? {}
                    : {
                      clientSecret: yield* cipher.seal(
                        sealContext(key, epoch, "client_secret", 0),
                        deposit.clientSecret
                      )
                    }),
                  credentials: yield* sealCredentials(
                    cipher,
                    { key, epoch, generation: previous + 1 },
                    deposit.credentials
                  ),
                  ...(yield* sealAccount(cipher, { key, epoch }, deposit.credentials.account)),
                  grantedAt: deposit.grantedAt
                })
                if (!stored) continue
                yield* signals.notify(connectionTopic(key))
                const { accessToken, refreshToken } = deposit.credentials
                yield* audit(
                  key,
                  "connection.deposited",
                  "ok",
                  previous + 1,
                  refreshToken === undefined
                    ? { purpose: "access_token", value: accessToken }
                    : { purpose: "refresh_token", value: refreshToken }
                )
                return Option.isNone(current)
              }
            }),
            disconnect: Effect.fn("Connections.disconnect")(function*(key) {
              if (!(yield* store.disconnect(key, Epoch.make(yield* entropy.id)))) return
              yield* signals.notify(connectionTopic(key))
              yield* audit(key, "connection.disconnected", "ok")
            }),
            forget: Effect.fn("Connections.forget")(function*(key, generation) {
              const found = yield* rows.get(key)
              if (Option.isNone(found) || found.value.status._tag === "revoking") {
                return yield* new TokenError({ code: "connection_not_found" })
              }
              if (found.value.generation !== generation) {
                return yield* new DepositConflict({ code: "generation_mismatch" })
              }
              const { epoch, generation: current } = found.value
              if (!(yield* store.forget(key, { generation: current, epoch }))) {
                return yield* new TokenError({ code: "refresh_in_progress", retryAfter: Duration.seconds(1) })
              }
              yield* signals.notify(connectionTopic(key))
              yield* audit(key, "connection.forgotten", "ok", generation)
            })
          })
        })
      )
}
