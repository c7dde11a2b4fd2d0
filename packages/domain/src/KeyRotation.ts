import { Clock, Context, type DateTime, Duration, Effect, Layer, Result, Schema } from "effect"
import { Cipher, type CipherError } from "./Cipher.ts"
import { sealContext } from "./Connection.ts"
import { type AddedKey, type HeldKey, HeldKeys, type KeysManagedElsewhere } from "./HeldKeys.ts"
import { KeyRegister, type KeyState, type RegisteredKey } from "./KeyRegister.ts"
import { isUnderTenantKey, keyIdOf, type SealContext, type Sealed } from "./Sealed.ts"
import { type SealedRow, SealedRows, type SealedTable, sealedTables } from "./SealedRows.ts"
import { Spool, type SpoolEntry } from "./Spool.ts"
import type { StoreError } from "./StoreError.ts"

const batch = 100
const defaultPatience = Duration.seconds(2)

/** How long a key must not have been primary before it may be retired: longer than a replica takes to hear of it and to store what it sealed. */
export const quiet = Duration.seconds(10)

/** Error of a rotation step that was refused. Nothing changed. */
export class KeyRotationError extends Schema.TaggedError<KeyRotationError>("valetkey/KeyRotationError")(
  "KeyRotationError",
  { code: Schema.Literals(["key_not_found", "key_not_held", "key_retired", "key_in_use"]) }
) {
  override get message() {
    switch (this.code) {
      case "key_not_found":
        return "This installation has never had a key of this id; add it first, on every replica"
      case "key_not_held":
        return "The replica that answered does not hold this key; add it on every replica, then promote it"
      case "key_retired":
        return "The key is retired and does not come back; add another one"
      case "key_in_use":
        return "The key is primary, was so a moment ago, or still seals stored secrets; promote another, rewrap, then retire it"
    }
  }
}

/** A root key with what this process and the store say of it. */
export interface KeyStatus extends HeldKey {
  readonly state: KeyState
  readonly firstSeenAt: DateTime.Utc
  /** Whether the process that answers holds the key. */
  readonly held: boolean
  /** How many stored envelopes name it. */
  readonly envelopes: number
}

/** The keys of an installation, by id, and the envelopes whose key nobody has ever seen. */
export interface KeysStatus {
  readonly keys: ReadonlyArray<KeyStatus>
  readonly unknown: number
}

/** What one call of `rewrap` did. */
export interface Rewrapped {
  /** Rows that are under the primary key now. */
  readonly rewrapped: number
  /** Rows that somebody else wrote meanwhile; they are looked at again when they are not under the primary key. */
  readonly moved: number
  /** Rows with an envelope that does not open. They stay as they are. */
  readonly failed: number
  /** Whether the call came to the end of every table. */
  readonly done: boolean
}

/** Use case: the life of root keys while the server runs: add everywhere, promote, seal anew, retire. */
export class KeyRotation extends Context.Service<KeyRotation, {
  readonly status: Effect.Effect<KeysStatus, CipherError | StoreError>
  /** Makes a key and adds it for opening where this process manages its keys itself, or gives the entry to configure. */
  readonly add: Effect.Effect<AddedKey, CipherError | KeysManagedElsewhere | StoreError>
  /** Makes a key the one that seals, on every replica that holds it. Idempotent. */
  promote(id: number): Effect.Effect<void, CipherError | KeyRotationError | StoreError>
  /**
   * Seals what other keys sealed under the primary one, for about `patience`. Safe at any time and from any number of
   * replicas: the rows themselves say what is left, so a call that died is simply followed by another one.
   */
  rewrap(options?: { readonly patience?: Duration.Duration }): Effect.Effect<Rewrapped, CipherError | StoreError>
  /** Makes a key open nothing any more. Refused while any stored envelope names it. Idempotent. */
  retire(id: number): Effect.Effect<void, CipherError | KeyRotationError | StoreError>
}>()("@valetkey/domain/KeyRotation") {
  /**
   * Layer of the use case; nothing runs by itself. With `tenantKeys`, what the cipher seals under the tenants' data keys,
   * `rewrap` also brings there what is still under root keys, the primary one included.
   */
  static readonly layer = (
    options?: { readonly tenantKeys?: boolean | undefined }
  ): Layer.Layer<KeyRotation, never, Cipher | HeldKeys | KeyRegister | SealedRows | Spool> =>
    Layer.effect(
      KeyRotation,
      Effect.gen(function*() {
        const cipher = yield* Cipher
        const held = yield* HeldKeys
        const register = yield* KeyRegister
        const rows = yield* SealedRows
        const spool = yield* Spool

        const known = Effect.fnUntraced(function*(id: number) {
          const key = (yield* register.list).find((key) => key.id === id)
          return key ?? (yield* new KeyRotationError({ code: "key_not_found" }))
        })

        /** The envelopes that name each key, those of this process's spool included. */
        const counts = Effect.gen(function*() {
          const total = new Map<number, number>()
          const add = (keyId: number, envelopes: number) => total.set(keyId, (total.get(keyId) ?? 0) + envelopes)
          for (const count of yield* rows.counts) add(count.keyId, count.envelopes)
          for (const entry of yield* spool.list) {
            for (const { sealed } of secretsOf(entry)) if (!isUnderTenantKey(sealed)) add(keyIdOf(sealed) ?? -1, 1)
          }
          return total
        })

        /** Opens and seals again. Undefined unless the result is under the wanted key, or under that of the tenant. */
        const reseal = Effect.fnUntraced(function*(primary: number, context: SealContext, sealed: Sealed) {
          const fresh = yield* cipher.seal(context, yield* cipher.open(context, sealed))
          return isUnderTenantKey(fresh) || keyIdOf(fresh) === primary ? fresh : undefined
        })

        const resealRow = Effect.fnUntraced(function*(primary: number, row: SealedRow) {
          const sealed = new Array<Sealed>()
          for (const { context, sealed: old } of row.envelopes) {
            const fresh = yield* reseal(primary, context, old)
            if (fresh === undefined) return undefined
            sealed.push(fresh)
          }
          return { row, sealed }
        })

        /** One page; undefined when the table is at its end. */
        const rewrapPage = Effect.fnUntraced(function*(
          input: Parameters<SealedRows["Service"]["page"]>[0],
          primary: number,
          tally: { rewrapped: number; moved: number; failed: number }
        ) {
          const page = yield* rows.page(input)
          const ready = new Array<{ readonly row: SealedRow; readonly sealed: ReadonlyArray<Sealed> }>()
          for (const row of page) {
            const outcome = yield* Effect.result(resealRow(primary, row))
            if (Result.isSuccess(outcome) && outcome.success !== undefined) {
              ready.push(outcome.success)
              continue
            }
            tally.failed++
            yield* Effect.logWarning("a stored secret was not sealed anew", {
              table: row.table,
              code: Result.isFailure(outcome) ? outcome.failure.code : "encryption_key_unavailable"
            })
          }
          const replaced = ready.length === 0 ? 0 : yield* rows.replace(ready)
          tally.rewrapped += replaced
          tally.moved += ready.length - replaced
          return page.length < input.limit ? undefined : page.at(-1)!.id
        })

        const rewrapSpool = Effect.fnUntraced(function*(
          keyIds: ReadonlyArray<number>,
          primary: number,
          tally: { rewrapped: number; failed: number }
        ) {
          for (const entry of yield* spool.list) {
            if (!secretsOf(entry).some(({ sealed }) => keyIds.includes(keyIdOf(sealed) ?? -1))) continue
            const outcome = yield* Effect.result(Effect.forEach(
              secretsOf(entry),
              ({ context, sealed }) => reseal(primary, context, sealed)
            ))
            const sealed = Result.isSuccess(outcome) ? outcome.success : []
            const [accessToken] = sealed
            if (accessToken === undefined) {
              tally.failed++
              continue
            }
            const refreshToken = entry.credentials.refreshToken && sealed[1]
            // An entry that was adopted meanwhile comes back and is found to be void at the next replay.
            yield* spool.append({
              ...entry,
              credentials: {
                ...entry.credentials,
                accessToken,
                ...(refreshToken === undefined ? {} : { refreshToken })
              },
              clientSecret: entry.clientSecret && sealed.at(-1)
            })
            tally.rewrapped++
          }
        })

        return KeyRotation.of({
          status: Effect.gen(function*() {
            const here = yield* held.refresh
            const envelopes = yield* counts
            const keys = (yield* register.list).map((key): KeyStatus => ({
              ...key,
              held: holds(here, key),
              envelopes: envelopes.get(key.id) ?? 0
            }))
            for (const key of keys) envelopes.delete(key.id)
            return { keys, unknown: [...envelopes.values()].reduce((sum, count) => sum + count, 0) }
          }),
          add: held.add,
          promote: Effect.fn("KeyRotation.promote")(function*(id) {
            const here = yield* held.refresh
            const key = yield* known(id)
            if (key.state === "retired") return yield* new KeyRotationError({ code: "key_retired" })
            if (!holds(here, key)) return yield* new KeyRotationError({ code: "key_not_held" })
            if (!(yield* register.promote(id))) return yield* new KeyRotationError({ code: "key_retired" })
            yield* held.refresh
          }),
          rewrap: Effect.fn("KeyRotation.rewrap")(function*(bounds) {
            const here = yield* held.refresh
            yield* held.verify
            const keys = yield* register.list
            const tally = { rewrapped: 0, moved: 0, failed: 0 }
            const primary = keys.find((key) => key.state === "primary")?.id
            const others = othersOf(keys, here)
            if (primary === undefined) return { ...tally, done: true }
            const moving = options?.tenantKeys === true ? [...others, primary] : others
            const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(bounds?.patience ?? defaultPatience)
            yield* rewrapSpool(moving, primary, tally)
            for (const table of sealedTables) {
              const keyIds = table === "tenant_keys" ? others : moving
              if (keyIds.length === 0) continue
              let after: SealedRow["id"] | undefined
              do {
                after = yield* rewrapPage({ table, keyIds, after, limit: batch }, primary, tally)
                if ((yield* Clock.currentTimeMillis) >= end && !(isLast(table) && after === undefined)) {
                  return { ...tally, done: false }
                }
              } while (after !== undefined)
            }
            return { ...tally, done: true }
          }),
          retire: Effect.fn("KeyRotation.retire")(function*(id) {
            const key = yield* known(id)
            if (key.state === "retired") return
            const inUse = key.state === "primary" || ((yield* counts).get(id) ?? 0) > 0
            if (inUse || !(yield* register.retire(id, quiet))) {
              return yield* new KeyRotationError({ code: "key_in_use" })
            }
            yield* held.refresh
          })
        })
      })
    )
}

/** The keys whose envelopes can be sealed anew here: all that are held, but for the primary and the retired. */
const othersOf = (keys: ReadonlyArray<RegisteredKey>, here: ReadonlyArray<HeldKey>): ReadonlyArray<number> =>
  keys.filter((key) => key.state === "active" && holds(here, key)).map((key) => key.id)

const holds = (here: ReadonlyArray<HeldKey>, { checkValue, id }: HeldKey): boolean =>
  here.some((one) => one.id === id && one.checkValue === checkValue)

const isLast = (table: SealedTable): boolean => table === sealedTables.at(-1)

const secretsOf = (entry: SpoolEntry): ReadonlyArray<{ readonly context: SealContext; readonly sealed: Sealed }> => {
  const { accessToken, refreshToken } = entry.credentials
  const { clientSecret } = entry
  const contextOf = (field: "access_token" | "refresh_token") =>
    sealContext(entry.key, entry.epoch, field, entry.redeemed + 1)
  return [
    { context: contextOf("access_token"), sealed: accessToken },
    ...(refreshToken === undefined ? [] : [{ context: contextOf("refresh_token"), sealed: refreshToken }]),
    ...(clientSecret === undefined
      ? []
      : [{ context: sealContext(entry.key, entry.epoch, "client_secret", 0), sealed: clientSecret }])
  ]
}
