import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Deadlines } from "@valetkey/domain/Deadlines"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Clock, Context, DateTime, Effect, Layer, Result } from "effect"
import { stores } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"

// VALETKEY_PROOF_EXPIRING=10000 VALETKEY_PROOF_CAP=50 is the long proof.
const expiring = Number(process.env["VALETKEY_PROOF_EXPIRING"] ?? 300)
const cap = Number(process.env["VALETKEY_PROOF_CAP"] ?? 10)
const replicas = 3
/** Callers who wait at a time: many times the cap, and no more than one process of a test can ask its database for at once. */
const callers = 300
const tenants = 5

/** Everybody waits until it is their turn, however slow the machine is. */
const patient = Result.getOrThrow(
  Deadlines.make({ http: "30 seconds", refresh: "45 seconds", lease: "60 seconds", waiter: "15 minutes" })
)

const keyOf = (index: number) =>
  new ConnectionKey({
    tenant: TenantId.make(`tenant-${index % tenants}`),
    subject: SubjectId.make(`person-${index}`),
    server: ServerSlug.make("mcp")
  })

/** A connection whose access token is over. */
const deposit = Effect.fnUntraced(function*(provider: FakeProvider.FakeProvider, key: ConnectionKey) {
  const { accessToken, refreshToken } = provider.grant()
  const issuedAt = DateTime.subtract(yield* DateTime.now, { hours: 2 })
  yield* (yield* Connections).deposit(key, {
    grant: {
      issuer: provider.issuer,
      tokenEndpoint: `${provider.issuer}/token`,
      clientId: "fake-client",
      authMethod: "none",
      resource: provider.resource,
      redemptionPolicy: "strict"
    },
    credentials: {
      accessToken,
      refreshToken,
      tokenType: "Bearer",
      issuedAt,
      expiresAt: DateTime.add(issuedAt, { hours: 1 })
    }
  })
})

describe("connections that expire together", () => {
  it.live(
    `REF-13 ${expiring} over ${replicas} replicas: the provider never sees more than ${cap} at once, and nobody gets an error`,
    () =>
      Effect.gen(function*() {
        const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
        // As long as a request to another host takes at least: there would be as many at once as there are callers.
        provider.always("token", Reply.before(Effect.sleep("20 millis")))
        const store = yield* stores.PostgreSQL
        const keys = Installation.freshKeys()
        const open = Layer.build(
          Installation.layer(store(), keys, {}, { deadlines: patient, caps: [{ endpoint: provider.origin, cap }] })
            .pipe(Layer.fresh)
        )
        const installations = yield* Effect.all(Array.from({ length: replicas }, () => open))
        const all = Array.from({ length: expiring }, (_, index) => keyOf(index))
        yield* Effect.forEach(all, (key) => deposit(provider, key), { concurrency: 16, discard: true }).pipe(
          Effect.provideContext(installations[0]!)
        )

        const begun = yield* Clock.monotonicTimeNanos
        const outcomes = yield* Effect.forEach(all, (key, index) =>
          Context.get(installations[index % replicas]!, AccessTokens).get(key).pipe(
            Effect.match({
              onSuccess: ({ generation }) =>
                `generation ${generation}`,
              onFailure: (error) => error.code
            })
          ), { concurrency: callers })
        const seconds = Number((yield* Clock.monotonicTimeNanos) - begun) / 1e9

        assert.deepStrictEqual([...new Set(outcomes)], ["generation 2"])
        assert.strictEqual(provider.requests("token").length, expiring)
        assert.strictEqual(provider.maxTokenCount(), 1)
        assert.isTrue(provider.families.every(({ revoked }) =>
          !revoked
        ))
        assert.isAtMost(provider.maxConcurrentTokenRequests(), cap)
        // A cap that nobody comes near would prove nothing.
        assert.isAtLeast(provider.maxConcurrentTokenRequests(), Math.ceil(cap / 2))
        yield* Effect.logInfo(
          `${expiring} connections, cap ${cap}: at most ${provider.maxConcurrentTokenRequests()} at once, ${
            seconds.toFixed(1)
          } s`
        )
      }),
    Math.max(60_000, expiring * 100)
  )
})
