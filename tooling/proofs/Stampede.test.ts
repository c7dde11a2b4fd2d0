import { assert, describe, it } from "@effect/vitest"
import { locate } from "@valetkey/client/Home"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Context, Effect, Fiber, Latch, Layer, Redacted } from "effect"
import { readFileSync } from "node:fs"
import * as Command from "../demo/Command.ts"
import * as Serving from "../demo/Serving.ts"
import * as Api from "./Api.ts"
import { type Store, stores } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"
import * as Rendezvous from "./Rendezvous.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

const callers = 1000

/** Lets every caller ask at once for the token of an expired connection and checks what the provider saw. */
const stampede = Effect.fnUntraced(function*(store: Store, replicas: number) {
  const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
  // One read of each caller; the refresh reads again.
  const everybody = Rendezvous.make(callers + 1)
  provider.script("token", [Reply.before(everybody.met)])
  const keys = Installation.freshKeys()
  const open = Layer.build(
    Installation.layer(
      everybody.layer.pipe(Layer.provideMerge(store())),
      keys
    ).pipe(Layer.fresh)
  )
  const installations = yield* Effect.all(Array.from({ length: replicas }, () => open))
  const { accessToken, key, refreshToken } = yield* Installation.depositExpired(provider).pipe(
    Effect.provideContext(installations[0]!)
  )

  const asking = yield* Effect.forkChild(Effect.all(
    Array.from(
      { length: callers },
      (_, caller) => Context.get(installations[caller % replicas]!, AccessTokens).get(key)
    ),
    { concurrency: "unbounded" }
  ))
  const tokens = yield* Fiber.join(asking)

  assert.strictEqual(tokens.length, callers)
  const distinct = [...new Set(tokens.map((token) => Redacted.value(token.accessToken)))]
  assert.strictEqual(distinct.length, 1)
  assert.notStrictEqual(distinct[0], Redacted.value(accessToken))
  assert.strictEqual(provider.requests("token").length, 1)
  assert.strictEqual(provider.tokenCount(refreshToken), 1)
  assert.isTrue(provider.isActive(distinct[0]!))
  assert.isTrue(provider.families.every(({ revoked }) => !revoked))
})

describe(`a stampede of ${callers} callers on an expired connection`, () => {
  for (const [name, store] of Object.entries(stores)) {
    it.live(
      `REF-01 I1 redeems once and gives all of them the same token on ${name}`,
      () => Effect.flatMap(store, (store) => stampede(store, 1)),
      20_000
    )
  }

  it.live(
    "REF-01 I1 redeems once over HTTP, in a server process of its own on SQLite",
    () =>
      Effect.gen(function*() {
        const home = yield* TemporaryDirectory.make
        const serving = yield* Serving.start(Command.environment(home, { VALETKEY_LISTEN: "127.0.0.1:0" }))
        const origin = String((serving.ready["listen"] as ReadonlyArray<string>).at(-1))
        const bearer = Redacted.make(readFileSync(locate({ VALETKEY_HOME: home }).token, "utf8").trim())
        const api = Api.make(origin, bearer)
        const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
        const { refreshToken } = provider.grant()
        const deposited = yield* api.call("PUT", "/v1/connections/mcp", {
          body: {
            tokenEndpoint: `${provider.issuer}/token`,
            refreshToken: Redacted.value(refreshToken),
            clientId: "fake-client",
            resource: provider.resource
          }
        })
        assert.strictEqual(deposited.status, 201, deposited.text)

        const gate = yield* Latch.make()
        provider.script("token", [Reply.before(gate.await)])
        const asking = yield* Effect.forkChild(Effect.all(
          Array.from({ length: callers }, () => api.call("POST", "/v1/connections/mcp/token", { body: {} })),
          { concurrency: "unbounded" }
        ))
        yield* provider.arrived("token")
        // Behind the others in the server's queue: when it is answered they wait for the refresh.
        assert.strictEqual((yield* api.call("GET", "/v1/connections/mcp")).status, 200)
        yield* gate.open
        const answers = yield* Fiber.join(asking)

        assert.isTrue(answers.every(({ status }) => status === 200))
        const distinct = [...new Set(answers.map(({ json }) => String(json["accessToken"])))]
        assert.strictEqual(distinct.length, 1)
        assert.isTrue(provider.isActive(distinct[0]!))
        assert.strictEqual(provider.requests("token").length, 1)
        assert.strictEqual(provider.tokenCount(refreshToken), 1)
      }),
    30_000
  )

  it.live(
    "REF-02 S4x.7 I1 redeems once for callers spread over three replicas on one PostgreSQL",
    () => Effect.flatMap(stores.PostgreSQL, (store) => stampede(store, 3)),
    20_000
  )
})
