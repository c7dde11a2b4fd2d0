import type { ReadinessCheck } from "@valetkey/api/SystemApi"
import { HeldKeys } from "@valetkey/domain/HeldKeys"
import { Instance } from "@valetkey/domain/Instance"
import { Readiness } from "@valetkey/http/Readiness"
import type { KeyRing } from "@valetkey/keyring/KeyRing"
import type { KeySource } from "@valetkey/keyring/KeySource"
import { Effect, Layer } from "effect"
import { Draining } from "./Draining.ts"
import { RootKeys } from "./RootKeys.ts"
import { StoreHealth } from "./StoreHealth.ts"

/** Layer of the readiness of a process: its store, its keys, its instance, and whether it stays. */
export const layer: Layer.Layer<Readiness, never, Draining | HeldKeys | Instance | RootKeys | StoreHealth> = Layer
  .effect(
    Readiness,
    Effect.map(
      Effect.all([Draining, HeldKeys, Instance, RootKeys, StoreHealth]),
      ([draining, held, { admitted }, keys, store]) =>
        Readiness.of({
          checks: Effect.all([
            Effect.map(store.check, ({ ok, reason }) => check("store", ok, reason)),
            // Without a key everything that needs no secret works, so this degrades and does not take the server away.
            Effect.matchEffect(soon(keys.ring), {
              onSuccess: () => verified(held),
              onFailure: (reason) => Effect.succeed(check("key", true, `degraded: ${reason}`))
            }),
            // As of the last look, which is seconds old; a store that does not answer has a check of its own.
            Effect.match(admitted, {
              onSuccess: () => check("instance", true, "ok"),
              onFailure: (error) => check("instance", false, `${error.code}: ${error.message}`)
            }),
            Effect.map(
              draining.begun,
              (begun) => check("draining", !begun, begun ? "the server is shutting down" : "ok")
            )
          ])
        })
    )
  )

/** A probe waits a second in most places, and a key service may take longer to be found missing. */
const soon = (ring: KeySource["ring"]): Effect.Effect<KeyRing, string> =>
  Effect.timeoutOrElse(Effect.mapError(ring, ({ code }) => code), {
    duration: "500 millis",
    orElse: () => Effect.fail("the key service has not answered yet")
  })

/** A wrong key, or a ring without the one that seals, takes the replica away: it would refuse what others serve. */
const verified = (held: HeldKeys["Service"]): Effect.Effect<ReadinessCheck> =>
  Effect.match(held.verify, {
    onSuccess: () => check("key", true, "ok"),
    onFailure: (error) =>
      // The store has a check of its own.
      error._tag === "StoreError"
        ? check("key", true, "unknown: the store does not answer")
        : check("key", false, error.code)
  })

const check = (name: string, ok: boolean, reason: string): ReadinessCheck => ({ name, ok, reason })
