import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Connections } from "@valetkey/domain/Connections"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import * as Canary from "@valetkey/testing/Canary"
import { Context, DateTime, Effect, Layer } from "effect"
import { keyOf } from "./World.ts"

/** The provider that most connections of these tests share. */
export const shared = "https://as.example"

/** A connection whose access token is over. */
export const expired = Effect.fnUntraced(
  function*(
    slug: string,
    input: { at?: string; issuer?: string; tenant?: string; redemptionPolicy?: RedemptionPolicy } = {}
  ) {
    const key = yield* keyOf(slug, input.tenant === undefined ? {} : { tenant: input.tenant })
    const issuedAt = DateTime.subtract(yield* DateTime.now, { hours: 2 })
    const at = input.at ?? shared
    yield* (yield* Connections).deposit(key, {
      grant: {
        issuer: input.issuer ?? at,
        tokenEndpoint: `${at}/token`,
        clientId: "client",
        authMethod: "none",
        redemptionPolicy: input.redemptionPolicy ?? "retry-once"
      },
      credentials: {
        accessToken: Canary.make("access_token"),
        refreshToken: Canary.make("refresh_token"),
        tokenType: "Bearer",
        issuedAt,
        expiresAt: DateTime.add(issuedAt, { hours: 1 })
      }
    })
    return key
  }
)

/** Another replica on the same store. */
export const replica = (options?: Parameters<typeof AccessTokens.layer>[0]) =>
  Effect.map(Layer.build(Layer.fresh(AccessTokens.layer(options))), Context.get(AccessTokens))

/** Lets fibers run until nothing more happens without the clock. */
export const quiet = Effect.forEach(Array.from({ length: 200 }), () => Effect.yieldNow, { discard: true })
