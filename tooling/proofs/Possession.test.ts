import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { ResourceProxy } from "@valetkey/domain/ResourceProxy"
import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as ResourceRequests from "@valetkey/oauth/ResourceRequests"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Canary from "@valetkey/testing/Canary"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Layer, Option, Redacted } from "effect"
import * as BoundResource from "./BoundResource.ts"
import * as Installation from "./Installation.ts"

const proxying = ResourceProxy.layer().pipe(
  Layer.provideMerge(ResourceRequests.layer()),
  Layer.provide(Egress.layer({ policy: AddressPolicy.local() }))
)

/** Two replicas of one installation: a store and a key ring, and everything else twice. */
const replicas = Effect.gen(function*() {
  const keys = Installation.freshKeys()
  const stores = yield* Layer.build(MemoryStore.layer)
  const replica = Layer.build(
    proxying.pipe(Layer.provideMerge(Layer.fresh(Installation.layer(Layer.succeedContext(stores), keys))))
  )
  return [yield* replica, yield* replica] as const
})

const ask = (key: Parameters<typeof Installation.connect>[0], body?: AsyncIterable<Uint8Array>) =>
  Effect.scoped(Effect.flatMap(ResourceProxy, (proxy) =>
    proxy.send(key, {
      method: "POST",
      path: "/things",
      query: "q=1",
      headers: () => ({}),
      body: Effect.succeed(body === undefined ? new TextEncoder().encode("{}") : { pieces: body, length: undefined })
    })))

const pieces = async function*() {
  yield new TextEncoder().encode("{}")
}

describe("proofs of possession", () => {
  it.live("EXT-03 go with every request where the resource wants them, and the key stays through refreshes on any replica", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* OidcProvider.make({ requireDpopNonce: true })
      const resource = yield* BoundResource.make(provider, { nonce: true })
      const [one, two] = yield* replicas
      const key = yield* Effect.provideContext(Installation.describe(resource.url), one)
      const flow = yield* Effect.provideContext(Installation.connect(key), one)
      assert.strictEqual(flow.state, "completed", JSON.stringify(flow))
      assert.deepStrictEqual(
        provider.log.filter(({ kind }) => kind === "token").map(({ outcome }) => outcome),
        ["use_dpop_nonce", "ok"]
      )
      const asked = resource.outcomes.length
      assert.strictEqual((yield* Effect.provideContext(ask(key), one)).response.status, 200)
      assert.strictEqual((yield* Effect.provideContext(ask(key), one)).response.status, 200)
      assert.deepStrictEqual(resource.outcomes.slice(asked), ["use_dpop_nonce", "ok", "ok"])

      const first = yield* Effect.provideContext(AccessTokens.use((tokens) => tokens.get(key)), one)
      assert.strictEqual(first.tokenType, "DPoP")
      Canary.register("proof_key", JSON.parse(Redacted.value(first.proofKey!)).d)
      const second = yield* Effect.provideContext(
        AccessTokens.use((tokens) => tokens.get(key, { rejected: first.accessToken })),
        two
      )
      assert.isAbove(second.generation, first.generation)
      assert.strictEqual(Redacted.value(second.proofKey!), Redacted.value(first.proofKey!))
      assert.strictEqual((yield* Effect.provideContext(ask(key), two)).response.status, 200)
      assert.strictEqual((yield* Effect.provideContext(ask(key), one)).response.status, 200)
      // Nobody refreshes because of a nonce.
      yield* resource.renew
      assert.strictEqual((yield* Effect.provideContext(ask(key), one)).response.status, 200)
      yield* resource.renew
      const streamed = yield* Effect.flip(Effect.provideContext(ask(key, pieces()), one))
      assert.strictEqual(streamed.code, "request_not_replayed")
      assert.strictEqual((yield* Effect.provideContext(ask(key, pieces()), one)).response.status, 200)
      const stored = yield* Effect.provideContext(ConnectionStore.use((store) => store.get(key)), one)
      assert.strictEqual(Option.getOrThrow(stored).generation, second.generation)
      assert.isEmpty(resource.outcomes.filter((outcome) => !["unauthorized", "use_dpop_nonce", "ok"].includes(outcome)))
    })))

  it.live("EXT-03 are of a key that no other connection has, and of none where the resource does not ask", () =>
    Effect.scoped(Effect.gen(function*() {
      const provider = yield* OidcProvider.make()
      const resource = yield* BoundResource.make(provider)
      const [one] = yield* replicas
      yield* Effect.gen(function*() {
        const tokens = yield* AccessTokens
        const keys = new Set<string>()
        for (const tenant of ["a", "b"]) {
          const key = yield* Installation.describe(resource.url, tenant)
          for (const _ of [1, 2]) {
            assert.strictEqual((yield* Installation.connect(key)).state, "completed")
            keys.add(Redacted.value((yield* tokens.get(key)).proofKey!))
          }
        }
        assert.strictEqual(keys.size, 4)
        const key = yield* Installation.describe((yield* McpResource.make(provider)).url, "c")
        assert.strictEqual((yield* Installation.connect(key)).state, "completed")
        const { proofKey, tokenType } = yield* tokens.get(key)
        assert.deepStrictEqual([tokenType, proofKey], ["Bearer", undefined])
      }).pipe(Effect.provideContext(one))
    })))
})
