import { Principal } from "@valetkey/api/Principal"
import { type ApiKey, parseApiKey } from "@valetkey/domain/ApiKey"
import { ApiKeys } from "@valetkey/domain/ApiKeys"
import { DateTime, Effect, Layer, Option, Redacted } from "effect"
import { Authenticator, Unauthorized } from "./Authenticator.ts"
import { scopesOf } from "./internal/apiKeyScopes.ts"
import { makeMemory } from "./internal/memory.ts"

/** How long a verified key is taken on trust. A key that is revoked is refused everywhere before a second has passed. */
const trustMillis = 900

/** Layer that verifies API keys by what the store holds, and leaves every credential of another shape to `others`. */
export const layer = <E, R>(others: Layer.Layer<Authenticator, E, R>): Layer.Layer<Authenticator, E, R | ApiKeys> =>
  Layer.effect(
    Authenticator,
    Effect.gen(function*() {
      const apiKeys = yield* ApiKeys
      const rest = yield* Authenticator
      const memory = makeMemory<Principal>({ capacity: 10_000, seconds: trustMillis / 1000 })

      return Authenticator.of({
        remembered: (credential) => isApiKey(credential) ? memory.get(credential) : rest.remembered(credential),
        authenticate: Effect.fnUntraced(function*(credential) {
          const text = Redacted.value(credential)
          if (!isApiKey(text)) return yield* rest.authenticate(credential)
          const known = memory.get(text)
          if (known !== undefined) return known
          // Counted from before the store is asked: what it says is true of no later moment.
          const asked = Date.now()
          const key = yield* apiKeys.verify(credential).pipe(
            Effect.tapError((error) => Effect.logWarning("API key not verified", error)),
            Effect.mapError(() => new Unauthorized({ code: "authentication_unavailable" }))
          )
          if (Option.isNone(key)) return yield* new Unauthorized({ code: "unauthorized" })
          const principal = principalOf(key.value)
          const end = Math.min(asked + trustMillis, DateTime.toEpochMillis(key.value.expiresAt))
          memory.set(text, principal, end / 1000)
          return principal
        })
      })
    })
  ).pipe(Layer.provide(others))

/** No signed token and no boot token has this shape. */
const isApiKey = (credential: string): boolean => credential.startsWith("vk_") && parseApiKey(credential) !== undefined

const principalOf = (key: ApiKey): Principal =>
  new Principal({ kind: "api_key", tenant: key.tenant, subject: key.subject, scopes: scopesOf(key) })
