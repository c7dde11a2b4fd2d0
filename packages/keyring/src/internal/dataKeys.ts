import { type Cipher, CipherError } from "@valetkey/domain/Cipher"
import { type Signals, tenantTopic } from "@valetkey/domain/Signals"
import type { StoreError } from "@valetkey/domain/StoreError"
import type { TenantId } from "@valetkey/domain/Tenant"
import { sealContext, type TenantKey, type TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Clock, Effect, Option, Redacted, type Scope } from "effect"
import { createSecretKey, randomBytes } from "node:crypto"
import { DerivedKeyCache, type RootKey } from "../Envelope.ts"
import type { KeyRing } from "../KeyRing.ts"

/** How old what the store said of a tenant's key may be, in milliseconds: for so long it may be used after its destruction. */
const maxAge = 1000
const capacity = 10_000

interface Held {
  readonly key: RootKey
  at: number
}

/** The data keys of tenants, as a cipher works with them. */
export interface DataKeys {
  /** The key that seals for a tenant; made at first use. */
  sealing(ring: KeyRing, tenant: TenantId): Effect.Effect<RootKey, CipherError>
  /** The key of a tenant if it has this id; undefined when there is no such key, or none any more. */
  opening(ring: KeyRing, tenant: TenantId, id: number): Effect.Effect<RootKey | undefined, CipherError>
  /** What was derived from keys that are held. */
  readonly derived: () => DerivedKeyCache
}

/** Makes data keys, which `root` seals, and holds them for as long as the store has them. */
export const make = Effect.fnUntraced(function*(
  { derivedKeys, root, signals, store }: {
    readonly root: Cipher["Service"]
    readonly store: TenantKeyStore["Service"]
    readonly signals: Signals["Service"]
    readonly derivedKeys: number | undefined
  }
): Effect.fn.Return<DataKeys, never, Scope.Scope> {
  let from: KeyRing | undefined
  let derived = new DerivedKeyCache(derivedKeys)
  const held = new Map<TenantId, Held>()

  const drop = (tenant: TenantId) => {
    if (held.delete(tenant)) derived = new DerivedKeyCache(derivedKeys)
  }
  yield* signals.listen((topic) =>
    Effect.sync(() => {
      if (!topic.startsWith("tenant:")) return
      for (const tenant of held.keys()) if (tenantTopic(tenant) === topic) return drop(tenant)
    })
  )

  /** What is held under a ring; another ring may have retired the key that sealed it. */
  const heldUnder = (ring: KeyRing, tenant: TenantId): Held | undefined => {
    if (from !== ring) {
      from = ring
      held.clear()
      derived = new DerivedKeyCache(derivedKeys)
    }
    return held.get(tenant)
  }

  const hold = (tenant: TenantId, key: RootKey, at: number): RootKey => {
    const oldest = held.size >= capacity ? held.keys().next().value : undefined
    if (oldest !== undefined) held.delete(oldest)
    held.set(tenant, { key, at })
    return key
  }

  const unseal = Effect.fnUntraced(function*(ring: KeyRing, tenant: TenantId, { dataKey, id }: TenantKey, at: number) {
    const text = yield* root.open(sealContext(tenant, id), dataKey)
    const bytes = Buffer.from(Redacted.value(text), "base64")
    if (bytes.length !== 32) return yield* new CipherError({ code: "integrity_error" })
    const key = { id, secret: createSecretKey(bytes) }
    bytes.fill(0)
    // The ring may be another one by now: then whoever asks next looks again.
    return from === ring ? hold(tenant, key, at) : key
  })

  const look = Effect.fnUntraced(function*(ring: KeyRing, tenant: TenantId) {
    const known = heldUnder(ring, tenant)
    const now = yield* Clock.currentTimeMillis
    if (known !== undefined && Math.abs(now - known.at) < maxAge) return known.key
    // A store that does not answer destroys nothing: a token that was redeemed must be sealed.
    const found = yield* known === undefined
      ? Effect.mapError(store.find(tenant), unavailable)
      : Effect.catch(store.find(tenant), () => Effect.succeed("silent" as const))
    if (found === "silent") return known!.key
    if (Option.isNone(found)) {
      drop(tenant)
      return undefined
    }
    if (known?.key.id !== found.value.id) return yield* unseal(ring, tenant, found.value, now)
    known.at = now
    return known.key
  })

  return {
    derived: () => derived,
    opening: (ring, tenant, id) => Effect.map(look(ring, tenant), (key) => key?.id === id ? key : undefined),
    sealing: Effect.fnUntraced(function*(ring, tenant) {
      const key = yield* look(ring, tenant)
      if (key !== undefined) return key
      const id = randomBytes(4).readUInt32BE()
      const bytes = randomBytes(32)
      const text = Redacted.make(bytes.toString("base64"))
      bytes.fill(0)
      const dataKey = yield* root.seal(sealContext(tenant, id), text)
      const made = yield* Effect.mapError(store.create(tenant, { id, dataKey }), unavailable)
      return yield* unseal(ring, tenant, made, yield* Clock.currentTimeMillis)
    })
  }
})

const unavailable = (_: StoreError) => new CipherError({ code: "encryption_key_unavailable" })
