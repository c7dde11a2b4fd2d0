import { assert, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { maxAttempts } from "@valetkey/domain/Refresh"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import * as Canary from "@valetkey/testing/Canary"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Context, DateTime, Effect, Exit, type Fiber, Latch, Layer, Option, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import fc from "fast-check"
import { keyOf, layer, refuse } from "./World.ts"

const histories = Number(process.env["VALETKEY_HISTORIES"] ?? 200)
const seed = Number(process.env["VALETKEY_SEED"] ?? Date.now() % 2 ** 31)

const points: ReadonlyArray<CheckpointName> = [
  "refresh.claimed",
  "refresh.sent",
  "refresh.response_received",
  "refresh.before_commit",
  "refresh.after_commit"
]

/** What a provider makes of a redemption: `lost` is processed and never answered, `never` neither. */
const answers = ["tokens", "tokens", "tokens", "lost", "never", "busy"] as const

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("go"), which: fc.nat({ max: 7 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("ask"), replica: fc.nat({ max: 1 }), rejecting: fc.boolean() })
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("wait"), millis: fc.constantFrom(50, 600, 1100, 31_000, 61_000) })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("answer"), answer: fc.constantFrom(...answers) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("die"), replica: fc.nat({ max: 1 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("consent") }) }
)
type Step = typeof step extends fc.Arbitrary<infer A> ? A : never

const history = fc.record({
  policy: fc.constantFrom<RedemptionPolicy>("strict", "retry-once"),
  grace: fc.boolean(),
  steps: fc.array(step, { minLength: 5, maxLength: 40 })
})
type History = typeof history extends fc.Arbitrary<infer A> ? A : never

/** The replica for which a fiber works. */
const Working = Context.Reference<number>("test/Working", { defaultValue: () => 0 })

it.effect(
  `I1 I4 I5 I20 ${histories} interleavings of two replicas, deaths, pauses, lost answers and new consents (VALETKEY_SEED=${seed})`,
  () =>
    Effect.gen(function*() {
      const injection = yield* InjectionPoints
      const server = yield* AuthorizationServer
      const store = yield* ConnectionStore
      const connections = yield* Connections
      let round = 0

      /** Fibers that stand somewhere, and the life of a replica that each of them belongs to. */
      let parked: Array<{ readonly life: number; readonly latch: Latch.Latch }> = []
      const park = Effect.flatMap(Working, (life) =>
        Effect.suspend(() => {
          const latch = Latch.makeUnsafe()
          parked.push({ life, latch })
          return latch.await
        }))
      for (const point of points) yield* injection.run(point, park)
      const real = { ...store }
      Object.assign(store, {
        claim: (...args: Parameters<typeof real.claim>) => Effect.andThen(park, real.claim(...args)),
        markSent: (...args: Parameters<typeof real.markSent>) => Effect.andThen(park, real.markSent(...args)),
        commit: (...args: Parameters<typeof real.commit>) => Effect.andThen(park, real.commit(...args)),
        fail: (...args: Parameters<typeof real.fail>) => Effect.andThen(park, real.fail(...args))
      })

      const play = Effect.fnUntraced(function*({ grace, policy, steps }: History) {
        const key = yield* keyOf(`mcp-${round++}`)
        parked = []
        const arrivals = new Map<string, number>()
        const used = new Set<string>()
        const consentOf = new Map<string, number>()
        let answer: (typeof answers)[number] = "tokens"
        let consents = 0
        let troubled = false
        const issue = (consent: number) => {
          const [accessToken, refreshToken] = [Canary.make("access_token"), Canary.make("refresh_token")]
          for (const token of [accessToken, refreshToken]) consentOf.set(Redacted.value(token), consent)
          return { accessToken, refreshToken, tokenType: "Bearer" }
        }
        Object.assign(server, {
          refresh: (_: unknown, secrets: { readonly refreshToken: Redacted.Redacted }) =>
            Effect.gen(function*() {
              const token = Redacted.value(secrets.refreshToken)
              const planned = answer
              answer = "tokens"
              if (planned === "busy") return yield* refuse({ _tag: "Transient" })
              arrivals.set(token, (arrivals.get(token) ?? 0) + 1)
              yield* park
              if (planned === "never") return yield* Effect.never
              if (used.has(token) && !grace) return yield* refuse({ _tag: "Terminal", error: "invalid_grant" })
              used.add(token)
              const tokens = issue(consentOf.get(token)!)
              if (planned === "lost") return yield* Effect.never
              yield* park
              const issuedAt = yield* DateTime.now
              return { ...tokens, issuedAt, expiresAt: DateTime.add(issuedAt, { minutes: 10 }) }
            })
        })
        const consent = Effect.gen(function*() {
          const issuedAt = DateTime.subtract(yield* DateTime.now, { hours: 1 })
          yield* connections.deposit(key, {
            grant: {
              issuer: "https://as.example",
              tokenEndpoint: "https://as.example/token",
              clientId: "client",
              authMethod: "none",
              redemptionPolicy: policy
            },
            credentials: { ...issue(++consents), issuedAt, expiresAt: DateTime.add(issuedAt, { minutes: 10 }) }
          })
        })
        // Nobody waits for the end of a replica that died.
        const scope = yield* Scope.make()
        let lives = 0
        const start = Effect.map(
          Scope.provide(Layer.build(Layer.fresh(AccessTokens.layer())), scope),
          (context) => ({ life: ++lives, tokens: Context.get(context, AccessTokens) })
        )
        const replicas = [yield* start, yield* start]
        let [lastToken, newest, newestConsent] = [undefined as Redacted.Redacted | undefined, 0, 0]
        const asked: Array<Fiber.Fiber<void>> = []

        const ask = Effect.fnUntraced(function*(replica: number, rejecting: boolean) {
          const { life, tokens } = replicas[replica]!
          const [since, consented] = [newest, consents]
          const rejected = rejecting ? lastToken : undefined
          const asking = tokens.get(key, { rejected, patience: "70 seconds" }).pipe(
            Effect.provideService(Working, life),
            Effect.exit,
            Effect.map((exit) => {
              if (Exit.isFailure(exit)) return
              const { accessToken, generation } = exit.value
              const of = consentOf.get(Redacted.value(accessToken)) ?? -1
              assert.isAtLeast(of, consented, "a token of an older consent came after a newer one")
              assert.notStrictEqual(accessToken, rejected)
              if (of === consented && newestConsent === of) {
                assert.isAtLeast(generation, since, "an older generation came after a newer one")
              }
              if (of > newestConsent || of === newestConsent && generation > newest) {
                ;[newestConsent, newest, lastToken] = [of, generation, accessToken]
              }
            })
          )
          asked.push(yield* Effect.forkDetach(asking, { startImmediately: true }))
        })
        const goOn = (which: number) =>
          Effect.suspend(() => {
            const alive = parked.filter(({ life }) => replicas.some((replica) => replica.life === life))
            const next = alive[which % Math.max(1, alive.length)]
            if (next === undefined) return Effect.void
            parked = parked.filter((one) => one !== next)
            return Effect.andThen(next.latch.open, Effect.repeat(Effect.yieldNow, { times: 3 }))
          })

        let [epoch, generation, status] = ["", 0, ""]
        const look = Effect.gen(function*() {
          const row = Option.getOrThrow(yield* real.get(key))
          if (row.epoch === epoch) assert.include([generation, generation + 1], row.generation)
          if (row.status._tag === "needs_reauth" && status !== "needs_reauth") {
            assert.isTrue(troubled, `asked in vain: ${row.status.reason}`)
          }
          ;[epoch, generation, status] = [row.epoch, row.generation, row.status._tag]
        })

        yield* consent
        for (const one of steps as ReadonlyArray<Step>) {
          if (one.do === "go") yield* goOn(one.which)
          if (one.do === "ask") yield* ask(one.replica, one.rejecting)
          if (one.do === "wait") {
            troubled ||= one.millis > 30_000
            yield* TestClock.adjust(one.millis)
          }
          if (one.do === "answer") {
            troubled ||= one.answer === "lost" || one.answer === "never"
            answer = one.answer
          }
          if (one.do === "die") {
            troubled = true
            replicas[one.replica] = yield* start
          }
          if (one.do === "consent") yield* consent
          yield* look
        }
        for (let left = 0; left < 12; left++) {
          for (let n = 0; n < 12; n++) yield* goOn(0)
          yield* TestClock.adjust("10 seconds")
          yield* look
        }
        for (const fiber of asked) {
          const exit = fiber.pollUnsafe()
          if (exit !== undefined && Exit.isFailure(exit)) yield* exit
        }
        for (const count of arrivals.values()) {
          assert.isAtMost(count, maxAttempts(policy), policy)
          if (!troubled) assert.isAtMost(count, 1, "sent again although nothing was unknown")
        }
      })

      const run = Effect.runPromiseWith(yield* Effect.context<never>())
      const begun = performance.now()
      yield* Effect.promise(() =>
        fc.assert(fc.asyncProperty(history, (one) => run(play(one) as Effect.Effect<void>)), {
          numRuns: histories,
          seed
        })
      )
      yield* Effect.logInfo(`${Math.round(histories / (performance.now() - begun) * 1000)} histories per second`)
    }).pipe(Effect.provide(layer)),
  300_000
)
