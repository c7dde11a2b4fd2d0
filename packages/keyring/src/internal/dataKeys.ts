import { type Cipher, CipherError } from "@valetkey/domain/Cipher"
import { type Signals, tenantTopic } from "@valetkey/domain/Signals"
import type { StoreError } from "@valetkey/domain/StoreError"
import type { TenantId } from "@valetkey/domain/Tenant"
import { sealContext, type TenantKey, type TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import { Clock, Deferred, Effect, Option, Redacted, Schedule, type Scope } from "effect"
import { createSecretKey, randomBytes } from "node:crypto"
import { DerivedKeyCache, type RootKey } from "../Envelope.ts"
import type { KeyRing } from "../KeyRing.ts"

/** How old what the store said of a tenant's key may be, in milliseconds: for so long it may be used after its destruction. */
const maxAge = 1000
/** How long work with a held key waits for a store that does not answer: a token may hang on it. */
const patience = "1 second"
/** How long a key that nobody uses is held, in milliseconds. */
const maxIdle = 300_000
const capacity = 10_000

interface Held {
  readonly key: RootKey
  /** When the store was last asked. */
  at: number
  usedAt: number
}

/** A question to the store that everybody shares who needs the same key. */
interface Asking {
  readonly answer: Deferred.Deferred<RootKey | undefined, CipherError>
  /** Done with the answer, or when it is late. */
  readonly soon: Deferred.Deferred<void>
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
  const scope = yield* Effect.scope
  let from: KeyRing | undefined
  let derived = new DerivedKeyCache(derivedKeys)
  const held = new Map<TenantId, Held>()
  const asking = new Map<TenantId, Asking>()

  const drop = (tenant: TenantId) => {
    const dropped = held.get(tenant)
    if (dropped === undefined) return
    held.delete(tenant)
    derived.forget(dropped.key)
  }
  yield* signals.listen((topic) =>
    Effect.sync(() => {
      if (!topic.startsWith("tenant:")) return
      for (const tenant of held.keys()) if (tenantTopic(tenant) === topic) return drop(tenant)
    })
  )

  yield* Effect.clockWith((clock) =>
    Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      for (const [tenant, { usedAt }] of held) if (Math.abs(now - usedAt) >= maxIdle) drop(tenant)
    })
  ).pipe(Effect.repeat(Schedule.spaced("1 minute")), Effect.forkScoped)

  /** What is held under a ring; another ring may have retired the key that sealed it. */
  const heldUnder = (ring: KeyRing, tenant: TenantId): Held | undefined => {
    if (from !== ring) {
      from = ring
      held.clear()
      asking.clear()
      derived = new DerivedKeyCache(derivedKeys)
    }
    return held.get(tenant)
  }

  const hold = (tenant: TenantId, key: RootKey, at: number): RootKey => {
    const oldest = held.size >= capacity ? held.keys().next().value : undefined
    if (oldest !== undefined) drop(oldest)
    held.set(tenant, { key, at, usedAt: at })
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

  const find = Effect.fnUntraced(function*(ring: KeyRing, tenant: TenantId) {
    const at = yield* Clock.currentTimeMillis
    const found = yield* Effect.mapError(store.find(tenant), unavailable)
    const known = from === ring ? held.get(tenant) : undefined
    if (Option.isSome(found) && known?.key.id === found.value.id) {
      known.at = at
      return known.key
    }
    if (known !== undefined) drop(tenant)
    return Option.isSome(found) ? yield* unseal(ring, tenant, found.value, at) : undefined
  })

  /** Asks once for all who wait. Nobody's interruption ends what others wait for. */
  const ask = (ring: KeyRing, tenant: TenantId): Effect.Effect<Asking> =>
    Effect.suspend(() => {
      const pending = asking.get(tenant)
      if (pending !== undefined) return Effect.succeed(pending)
      const one: Asking = { answer: Deferred.makeUnsafe(), soon: Deferred.makeUnsafe() }
      asking.set(tenant, one)
      // A store that does not answer destroys nothing, and need not be asked again at once.
      const silent = Effect.clockWith((clock) =>
        Effect.sync(() => {
          const known = from === ring ? held.get(tenant) : undefined
          if (known !== undefined) known.at = clock.currentTimeMillisUnsafe()
        })
      )
      const late = Effect.sleep(patience).pipe(
        Effect.andThen(Effect.suspend(() => Deferred.isDoneUnsafe(one.soon) ? Effect.void : silent)),
        Effect.andThen(Effect.sync(() => Deferred.doneUnsafe(one.soon, Effect.void)))
      )
      return Effect.interruptible(find(ring, tenant)).pipe(
        Effect.tapError(() => silent),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (asking.get(tenant) === one) asking.delete(tenant)
            Deferred.doneUnsafe(one.answer, exit)
            Deferred.doneUnsafe(one.soon, Effect.void)
          })
        ),
        Effect.forkIn(scope, { startImmediately: true }),
        Effect.andThen(Effect.suspend(() =>
          Deferred.isDoneUnsafe(one.soon) ? Effect.void : Effect.forkIn(Effect.interruptible(late), scope)
        )),
        Effect.as(one)
      )
    })

  const look = (ring: KeyRing, tenant: TenantId): Effect.Effect<RootKey | undefined, CipherError> =>
    Effect.clockWith((clock) => {
      const known = heldUnder(ring, tenant)
      if (known === undefined) return Effect.flatMap(ask(ring, tenant), ({ answer }) => Deferred.await(answer))
      known.usedAt = clock.currentTimeMillisUnsafe()
      // A token that was redeemed must be sealed: what is held serves while the store says nothing.
      return Math.abs(known.usedAt - known.at) < maxAge
        ? Effect.succeed(known.key)
        : Effect.flatMap(ask(ring, tenant), ({ answer, soon }) =>
          Effect.andThen(
            Deferred.await(soon),
            Effect.suspend(() => {
              const still = from === ring ? held.get(tenant) : undefined
              return still === undefined ? Deferred.await(answer) : Effect.succeed(still.key)
            })
          ))
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
