import { CipherError } from "@valetkey/domain/Cipher"
import { type HeldKey, HeldKeys, KeysManagedElsewhere } from "@valetkey/domain/HeldKeys"
import { KeyRegister, type RegisteredKey } from "@valetkey/domain/KeyRegister"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Clock, Deferred, Effect, type Scope } from "effect"
import type { KeyRing, RingKey } from "../KeyRing.ts"
import type { KeySource } from "../KeySource.ts"

/** The rings that a cipher works with; what they leave out does not seal and does not open. */
export interface Rings {
  /** The ring whose primary seals now. */
  readonly sealing: Effect.Effect<KeyRing, CipherError>
  readonly opening: Effect.Effect<KeyRing, CipherError>
  /** The ring after asking everywhere again, for an envelope whose key is not there. */
  readonly renewed: Effect.Effect<KeyRing, CipherError>
  /** Whether the installation ever had a key of this id, as far as the last answer said. */
  readonly knows: (id: number) => boolean
}

/** How old what the register said may be, in milliseconds: sealing with a demoted key is to end soon after its demotion. */
const maxAge = { sealing: 1000, opening: 5000 }
/** How long a seal waits for a register that does not answer: a token may hang on it. */
const patience = "1 second"

/** What the register made of the ring that the source gave. */
interface View {
  readonly at: number
  readonly from: KeyRing
  readonly register: string
  readonly known: ReadonlySet<number>
  readonly outcome: KeyRing | CipherError
  /** Whether the installation's primary key is held. */
  readonly complete: boolean
}

/** Joins a source's ring with the register: which of its keys seals, and which open. */
export const make = (
  source: KeySource
): Effect.Effect<Rings & { readonly held: HeldKeys["Service"] }, never, KeyRegister | Scope.Scope> =>
  Effect.gen(function*() {
    const register = yield* KeyRegister
    const scope = yield* Effect.scope
    let view: View | undefined
    let asking: Deferred.Deferred<void> | undefined

    const registered = Effect.fnUntraced(function*(ring: KeyRing) {
      const known = yield* register.list
      const fresh = [...ring.keys.values()].filter((key) => !known.some(({ id }) => id === key.id))
      const settled = fresh.length === 0 && known.some(({ state }) => state === "primary")
      // A ring with a wrong key in it is not trusted to name new ones.
      if (settled || mismatches(ring, known)) return known
      yield* register.enroll([...ring.keys.values()].map(({ checkValue, id }) => ({ id, checkValue })))
      return yield* register.list
    })

    const ask = Effect.fnUntraced(function*(from: KeyRing) {
      const keys = yield* registered(from)
      const at = yield* Clock.currentTimeMillis
      const text = keys.map(({ checkValue, id, state }) => `${id} ${checkValue} ${state}`).join("\n")
      // The same ring as before keeps what the cipher remembers for it.
      view = view?.from === from && view.register === text ? { ...view, at } : viewOf(at, from, text, keys)
      return view
    })

    const outcomeOf = ({ outcome }: View) =>
      outcome instanceof CipherError ? Effect.fail(outcome) : Effect.succeed(outcome)

    /** Asks once for all who wait, for no longer than the patience; then what was known before still holds. */
    const askSoon = (from: KeyRing) =>
      Effect.suspend(() => {
        if (asking !== undefined) return Deferred.await(asking)
        const done = asking = Deferred.makeUnsafe<void>()
        const answered = Effect.sync(() => {
          if (asking === done) asking = undefined
          Deferred.doneUnsafe(done, Effect.void)
        })
        const late = Effect.andThen(Effect.sleep(patience), answered)
        return Effect.interruptible(Effect.ignore(ask(from))).pipe(
          Effect.ensuring(answered),
          Effect.forkIn(scope, { startImmediately: true }),
          Effect.andThen(Effect.suspend(() =>
            Deferred.isDoneUnsafe(done)
              ? Effect.void
              : Effect.andThen(Effect.forkIn(Effect.interruptible(late), scope), Deferred.await(done))
          ))
        )
      })

    const within = (age: number): Effect.Effect<KeyRing, CipherError> =>
      Effect.flatMap(
        Effect.mapError(source.ring, missing),
        (from) =>
          Effect.clockWith((clock) => {
            const now = clock.currentTimeMillisUnsafe()
            if (view === undefined || view.from !== from) {
              return Effect.flatMap(Effect.mapError(ask(from), unknown), outcomeOf)
            }
            return Math.abs(now - view.at) < age
              ? outcomeOf(view)
              : Effect.andThen(askSoon(from), Effect.suspend(() => outcomeOf(view!)))
          })
      )

    const renew = Effect.flatMap(Effect.mapError(source.reload, missing), ask)

    return {
      sealing: within(maxAge.sealing),
      opening: within(maxAge.opening),
      renewed: Effect.flatMap(
        Effect.mapError(renew, (error) => error._tag === "CipherError" ? error : unknown()),
        outcomeOf
      ),
      knows: (id) => view?.known.has(id) ?? true,
      held: HeldKeys.of({
        refresh: Effect.map(renew, ({ from }) => heldIn(from)),
        verify: Effect.gen(function*() {
          const current = yield* ask(yield* Effect.mapError(source.ring, missing))
          yield* outcomeOf(current)
          if (!current.complete) return yield* unknown()
        }),
        add: Effect.gen(function*() {
          if (source.propose !== undefined) return yield* Effect.mapError(source.propose, missing)
          if (source.add === undefined) return yield* new KeysManagedElsewhere()
          const from = yield* Effect.mapError(source.add, missing)
          yield* ask(from)
          return heldIn(from).at(-1)!
        })
      })
    }
  })

const viewOf = (at: number, from: KeyRing, register: string, known: ReadonlyArray<RegisteredKey>): View => {
  const stateOf = (id: number) => known.find((key) => key.id === id)?.state
  const complete = [...from.keys.keys()].some((id) => stateOf(id) === "primary")
  const usable = [...from.keys.values()].filter(({ id }) => stateOf(id) !== "retired")
  // A replica that does not hold the primary key goes on with what it has: a token that was redeemed must be stored.
  const seals = usable.find(({ id }) => stateOf(id) === "primary") ?? usable[0]
  const outcome = mismatches(from, known)
    ? new CipherError({ code: "encryption_key_mismatch" })
    : seals === undefined
    ? unknown()
    : { primary: seals, keys: new Map(usable.map((key): [number, RingKey] => [key.id, key])) }
  return { at, from, register, known: new Set(known.map(({ id }) => id)), outcome, complete }
}

/** Whether a key of the ring is another one than the installation knows by this id. */
const mismatches = (ring: KeyRing, known: ReadonlyArray<RegisteredKey>): boolean =>
  known.some((key) =>
    key.state !== "retired" && ring.keys.has(key.id) && ring.keys.get(key.id)!.checkValue !== key.checkValue
  )

const heldIn = (ring: KeyRing): ReadonlyArray<HeldKey> =>
  [...ring.keys.values()].map(({ checkValue, id }) => ({ id, checkValue }))

const missing = () => new CipherError({ code: "encryption_key_missing" })

const unknown = (_?: StoreError) => new CipherError({ code: "encryption_key_unavailable" })
