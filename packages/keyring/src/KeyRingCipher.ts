import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import { DocumentTags } from "@valetkey/domain/DocumentTags"
import { HeldKeys } from "@valetkey/domain/HeldKeys"
import type { KeyRegister } from "@valetkey/domain/KeyRegister"
import { isUnderTenantKey, type SealContext, type Sealed } from "@valetkey/domain/Sealed"
import { Signals } from "@valetkey/domain/Signals"
import { StateTags } from "@valetkey/domain/StateTags"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Context, Effect, Layer, Redacted, Result } from "effect"
import * as Envelope from "./Envelope.ts"
import * as DataKeys from "./internal/dataKeys.ts"
import * as RegisteredRing from "./internal/registeredRing.ts"
import type { KeyRing } from "./KeyRing.ts"
import * as KeyRingDocumentTags from "./KeyRingDocumentTags.ts"
import * as KeyRingStateTags from "./KeyRingStateTags.ts"
import type { KeySource } from "./KeySource.ts"

/** What the cipher is bound to, and where its keys come from. */
export interface KeyRingCipherOptions {
  /** The installation; part of every envelope's context, so that a copied database does not open elsewhere. */
  readonly instanceId: string
  /** The installations whose envelopes are opened as well, because this one took their database over. None seals. */
  readonly former?: (() => ReadonlyArray<string>) | undefined
  readonly source: KeySource
  /** How many derived keys are remembered, 4096 by default. */
  readonly derivedKeys?: number | undefined
}

/** Layer of the Cipher port over a key ring alone, whose first key seals. Building it reads no key. */
export const layer = (options: KeyRingCipherOptions): Layer.Layer<Cipher> =>
  Layer.sync(Cipher, () => {
    const missing = () => new CipherError({ code: "encryption_key_missing" })
    const ring = Effect.mapError(options.source.ring, missing)
    const renewed = Effect.mapError(options.source.reload, missing)
    return make(options, { sealing: ring, opening: ring, renewed, knows: () => true })
  })

/**
 * Layer of the Cipher port over a key ring whose states the installation's register keeps, with the keys that this
 * process holds, and of the ports of tags under the key that seals. Building it reads nothing.
 */
export const layerRegistered = (
  options: KeyRingCipherOptions
): Layer.Layer<Cipher | DocumentTags | HeldKeys | StateTags, never, KeyRegister> =>
  Layer.effectContext(Effect.gen(function*() {
    const registered = yield* RegisteredRing.make(options.source)
    return Context.make(Cipher, make(options, registered)).pipe(besides(options, registered))
  }))

/**
 * Layer of `layerRegistered` that also opens what is under the data keys of tenants. With `sealing` it seals under them,
 * and makes the key of a tenant that has none; without, under the root key as before.
 */
export const layerTenantKeys = (
  options: KeyRingCipherOptions & { readonly sealing: boolean }
): Layer.Layer<Cipher | DocumentTags | HeldKeys | StateTags, never, KeyRegister | Signals | TenantKeyStore> =>
  Layer.effectContext(Effect.gen(function*() {
    const registered = yield* RegisteredRing.make(options.source)
    const root = make(options, registered)
    const keys = yield* DataKeys.make({
      root,
      store: yield* TenantKeyStore,
      signals: yield* Signals,
      derivedKeys: options.derivedKeys
    })
    return Context.make(Cipher, withTenantKeys(options, registered, root, keys)).pipe(besides(options, registered))
  }))

/** What else works with the rings of a registered cipher. */
const besides = (
  options: KeyRingCipherOptions,
  { held, knows, sealing }: RegisteredRing.Rings & { readonly held: HeldKeys["Service"] }
) =>
<R>(context: Context.Context<R>) =>
  context.pipe(
    Context.add(HeldKeys, held),
    Context.add(StateTags, KeyRingStateTags.make(options, sealing, knows)),
    Context.add(DocumentTags, KeyRingDocumentTags.make(options, sealing, knows))
  )

/** A cipher that leaves to `root` what is not under a tenant's key. */
const withTenantKeys = (
  { former, instanceId, sealing }: KeyRingCipherOptions & { readonly sealing: boolean },
  rings: RegisteredRing.Rings,
  root: Cipher["Service"],
  keys: DataKeys.DataKeys
): Cipher["Service"] => {
  const openWith = (key: Envelope.RootKey | undefined, context: SealContext, sealed: Sealed) => {
    const instances = key === undefined ? [] : [instanceId, ...former?.() ?? []]
    for (const instance of instances) {
      const opened = Envelope.open(() => key, { ...context, instance }, sealed, keys.derived(), 2)
      if (Result.isSuccess(opened)) return opened.success
    }
    return undefined
  }

  return Cipher.of({
    seal: (context, plaintext) =>
      !sealing || context.table === "tenant_keys"
        ? root.seal(context, plaintext)
        : Effect.map(
          Effect.flatMap(rings.sealing, (ring) => keys.sealing(ring, context.tenant)),
          (key) => {
            const bytes = Buffer.from(Redacted.value(plaintext), "utf8")
            const sealed = Envelope.seal(key, { ...context, instance: instanceId }, bytes, 2)
            bytes.fill(0)
            return sealed as Sealed
          }
        ),
    open: (context, sealed) =>
      !isUnderTenantKey(sealed) || context.table === "tenant_keys"
        ? root.open(context, sealed)
        : Effect.gen(function*() {
          const id = Envelope.keyIdOf(sealed, 2)
          const key = id === undefined
            ? undefined
            : yield* keys.opening(yield* rings.opening, context.tenant, id)
          const opened = openWith(key, context, sealed)
          if (opened === undefined) return yield* new CipherError({ code: "integrity_error" })
          return textOf(opened)
        })
  })
}

const make = (
  { derivedKeys, former, instanceId }: KeyRingCipherOptions,
  { knows, opening, renewed: renewing, sealing }: RegisteredRing.Rings
): Cipher["Service"] => {
  let cached: { readonly ring: KeyRing; readonly keys: Envelope.DerivedKeyCache } | undefined
  const cacheOf = (ring: KeyRing): Envelope.DerivedKeyCache => {
    if (cached?.ring !== ring) cached = { ring, keys: new Envelope.DerivedKeyCache(derivedKeys) }
    return cached.keys
  }

  const openAs = (instance: string, ring: KeyRing, context: SealContext, sealed: Sealed) =>
    Envelope.open((id) => ring.keys.get(id), { ...context, instance }, sealed, cacheOf(ring))

  const openWith = (ring: KeyRing, context: SealContext, sealed: Sealed) => {
    const opened = openAs(instanceId, ring, context, sealed)
    if (Result.isSuccess(opened) || opened.failure === "key_unavailable") return opened
    for (const instance of former?.() ?? []) {
      const asBefore = openAs(instance, ring, context, sealed)
      if (Result.isSuccess(asBefore)) return asBefore
    }
    return opened
  }

  /** What did not open: with the key that may have been added to the source meanwhile, or for good. */
  const again = Effect.fnUntraced(function*(
    current: KeyRing,
    first: ReturnType<typeof openWith>,
    context: SealContext,
    sealed: Sealed
  ) {
    let opened = first
    if (Result.isFailure(opened) && opened.failure === "key_unavailable") {
      // On another replica, or to the file.
      const renewed = yield* Effect.result(renewing)
      opened = openWith(Result.isSuccess(renewed) ? renewed.success : current, context, sealed)
      // An id that this installation never gave to a key is a damaged envelope, not a key that somebody forgot.
      if (Result.isSuccess(renewed) && !knows(Envelope.keyIdOf(sealed) ?? -1)) opened = Result.fail("format")
    }
    if (Result.isSuccess(opened)) return textOf(opened.success)
    const code = opened.failure === "key_unavailable" ? "encryption_key_unavailable" : "integrity_error"
    return yield* new CipherError({ code })
  })

  return Cipher.of({
    seal: (context, plaintext) =>
      Effect.map(sealing, ({ primary }) => {
        const bytes = Buffer.from(Redacted.value(plaintext), "utf8")
        const sealed = Envelope.seal(primary, { ...context, instance: instanceId }, bytes)
        bytes.fill(0)
        return sealed as Sealed
      }),
    open: (context, sealed) =>
      Effect.flatMap(opening, (current) => {
        const opened = openWith(current, context, sealed)
        return Result.isSuccess(opened)
          ? Effect.succeed(textOf(opened.success))
          : again(current, opened, context, sealed)
      })
  })
}

/** The text of what was opened, which is wiped. */
const textOf = (opened: Buffer): Redacted.Redacted => {
  const text = Redacted.make(opened.toString("utf8"))
  opened.fill(0)
  return text
}
