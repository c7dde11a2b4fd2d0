import { assert, describe, it } from "@effect/vitest"
import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import { Context, Effect, Layer } from "effect"
import type { Subject } from "./History.ts"
import * as Stage from "./Stage.ts"
import { timing } from "./Timing.ts"

class Played extends Context.Service<Played, Stage.Stage>()("chaos/Played") {
  /** Four owners that are hurt and one who takes over. */
  static readonly layer = Layer.effect(Played, Stage.make(5))
}

/** Every rotation mode under the usual policy, and the strict policy. */
const cases: ReadonlyArray<Pick<Subject, "mode" | "policy">> = [
  { mode: "refuse", policy: "retry-once" },
  { mode: "revoke", policy: "retry-once" },
  { mode: "grace", policy: "retry-once" },
  { mode: "refuse", policy: "strict" }
]

/** How a case ends: with a token after so many redemptions, or with a person asked after so many. */
type End = readonly [what: "token" | "asked", redemptions: number]

const named = ({ mode, policy }: Pick<Subject, "mode" | "policy">) => `${mode}, ${policy}`

/** Kills the owner of each case at a point; then another replica, or the owner that was started again, is asked. */
const killed = Effect.fnUntraced(function*(point: CheckpointName, next: "taker" | "owner", ends: ReadonlyArray<End>) {
  const stage = yield* Played
  const taker = stage.replicas.at(-1)!
  yield* Effect.promise(() =>
    Promise.all(cases.map(async (of, index) => {
      const owner = stage.replicas[index]!
      const one = await stage.deposit(of)
      const told = await stage.strike(owner, one, point, "kill")
      assert.strictEqual(told.status, 0, `${named(of)}: the owner lived`)
      if (next === "owner") await owner.start()
      const answer = await stage.askUntil(next === "owner" ? owner : taker, one)
      const [what, redemptions] = ends[index]!
      assert.strictEqual(answer.status, what === "token" ? 200 : 409, named(of))
      assert.strictEqual((await stage.arrivals(one)).length, redemptions, named(of))
      assert.strictEqual(await stage.reason(one), what === "token" ? undefined : "unknown_outcome", named(of))
      if (what === "token") assert.strictEqual(answer.body["generation"], 2, named(of))
      if (next === "taker") await owner.start()
    }))
  )
})

const limit = 120_000

describe("a replica", () => {
  it.layer(Played.layer, { timeout: limit })((it) => {
    it.effect(
      "CR-01 I1 that dies before anything was sent is taken over, and nobody redeems twice",
      () => killed("refresh.claimed", "taker", [["token", 1], ["token", 1], ["token", 1], ["token", 1]]),
      limit
    )

    it.effect(
      "CR-02 I1 that dies after the mark and before the request is retried once, or asks a person under strict",
      () => killed("refresh.sent", "taker", [["token", 1], ["token", 1], ["token", 1], ["asked", 0]]),
      limit
    )

    it.effect(
      "CR-03 CR-04 I3′ that dies with an answer that is nowhere yet costs a consent only where the provider has no grace",
      () => killed("refresh.response_received", "taker", [["asked", 2], ["asked", 2], ["token", 2], ["asked", 1]]),
      limit
    )

    it.effect(
      "CR-04 I3 I1 that dies with an answer in its spool loses nothing: it is adopted when the replica is back",
      () => killed("refresh.before_commit", "owner", [["token", 1], ["token", 1], ["token", 1], ["token", 1]]),
      limit
    )

    it.effect(
      "CR-05 I1 that dies after the commit has done its work: others hand out the token without redeeming",
      () => killed("refresh.after_commit", "taker", [["token", 1], ["token", 1], ["token", 1], ["token", 1]]),
      limit
    )

    it.effect("CR-16 I21 that runs out of memory is one that dies", () =>
      Effect.gen(function*() {
        const stage = yield* Played
        const [owner] = stage.replicas
        yield* Effect.promise(async () => {
          const one = await stage.deposit({ mode: "grace", policy: "retry-once" })
          assert.strictEqual((await stage.strike(owner!, one, "refresh.response_received", "exhaust")).status, 0)
          assert.strictEqual((await stage.askUntil(stage.replicas.at(-1)!, one)).body["generation"], 2)
          assert.strictEqual((await stage.arrivals(one)).length, 2)
          await owner!.start()
        })
      }), limit)

    it.effect(
      "CR-10 CR-16 I1 that stands still beyond its lease sends nothing afterwards, and keeps what others stored",
      () =>
        Effect.gen(function*() {
          const stage = yield* Played
          const taker = stage.replicas.at(-1)!
          const policy = "retry-once"
          const still = async (index: number, point: CheckpointName, how: "stop" | "spin", redemptions: number) => {
            const owner = stage.replicas[index]!
            const one = await stage.deposit({ mode: "grace", policy })
            const struck = owner.struck()
            const owned = stage.strike(owner, one, point, how === "stop" ? "stop" : { spinMillis: 2 * timing.lease })
            await struck
            const taken = await stage.askUntil(taker, one)
            assert.strictEqual(taken.body["generation"], 2, point)
            owner.signal("SIGCONT")
            const late = await owned
            // Its caller may have lost the patience meanwhile.
            if (late.status !== 503) assert.strictEqual(late.body["accessToken"], taken.body["accessToken"], point)
            const again = await stage.askUntil(owner, one)
            assert.strictEqual(again.body["accessToken"], taken.body["accessToken"], point)
            assert.strictEqual((await stage.arrivals(one)).length, redemptions, point)
            const after = await stage.ask(taker, one)
            assert.deepStrictEqual([after.body["generation"], after.body["accessToken"]], [
              2,
              taken.body["accessToken"]
            ])
          }
          yield* Effect.promise(() =>
            Promise.all([
              still(0, "refresh.sent", "stop", 1),
              still(1, "refresh.sent", "spin", 1),
              still(2, "refresh.response_received", "stop", 2),
              still(3, "refresh.claimed", "stop", 1)
            ])
          )
        }),
      limit
    )

    it.effect(
      "CR-12 I3 that is told twice goes at once, and what it had received is adopted when it is back",
      () =>
        Effect.gen(function*() {
          const stage = yield* Played
          const signals: ReadonlyArray<readonly [ReadonlyArray<NodeJS.Signals>, unknown]> = [
            [["SIGTERM", "SIGTERM"], 143],
            [["SIGTERM", "SIGINT"], 130],
            [["SIGHUP"], "SIGHUP"]
          ]
          yield* Effect.promise(() =>
            Promise.all(signals.map(async ([sent, code], index) => {
              const owner = stage.replicas[index]!
              const one = await stage.deposit({ mode: "revoke", policy: "retry-once" })
              // The answer is in the spool there.
              const struck = owner.struck()
              const owned = stage.strike(owner, one, "refresh.before_commit", { sleepMillis: 60_000 })
              await struck
              const begun = performance.now()
              for (const signal of sent) {
                owner.signal(signal)
                await stage.closed(owner)
              }
              assert.strictEqual(await owner.ended(), code, sent.join())
              assert.isBelow(performance.now() - begun, timing.refresh, sent.join())
              assert.strictEqual((await owned).status, 0)
              await owner.start()
              const answer = await stage.askUntil(owner, one)
              assert.deepStrictEqual([answer.status, answer.body["generation"]], [200, 2], sent.join())
              assert.strictEqual((await stage.arrivals(one)).length, 1, sent.join())
            }))
          )
        }),
      limit
    )

    it.effect(
      "CR-15 I21 with a defect answers 500 with an id and goes on, or ends; the connection is served again either way",
      () =>
        Effect.gen(function*() {
          const stage = yield* Played
          const [owner, other] = stage.replicas
          const taker = stage.replicas.at(-1)!
          yield* Effect.promise(async () => {
            const one = await stage.deposit({ mode: "grace", policy: "retry-once" })
            const told = await stage.strike(owner!, one, "refresh.response_received", "defect")
            assert.strictEqual(told.status, 500)
            assert.isString(told.body["correlationId"], JSON.stringify(told.body))
            assert.isTrue(owner!.up())
            const second = await stage.deposit({ mode: "refuse", policy: "retry-once" })
            assert.strictEqual((await stage.ask(owner!, second)).body["generation"], 2)
            assert.strictEqual((await stage.askUntil(taker, one)).body["generation"], 2)

            const third = await stage.deposit({ mode: "grace", policy: "retry-once" })
            const rejected = await stage.strike(other!, third, "refresh.response_received", "reject")
            assert.include([0, 200], rejected.status)
            assert.strictEqual((await stage.askUntil(taker, third)).body["generation"], 2)
          })
        }),
      limit
    )

    it.effect(
      "CR-13 I3 whose disk is full under spool and logs keeps nobody from refreshing and being served",
      () =>
        Effect.gen(function*() {
          const stage = yield* Played
          const [owner] = stage.replicas
          yield* Effect.promise(async () => {
            owner!.signal("SIGTERM")
            await owner!.ended()
            await owner!.start({ full: { fileKibibytes: 1 }, env: { VALETKEY_LOG_LEVEL: "debug" } })
            for (const mode of ["refuse", "grace"] as const) {
              const one = await stage.deposit({ mode, policy: "retry-once" })
              const first = await stage.ask(owner!, one)
              assert.deepStrictEqual([first.status, first.body["generation"]], [200, 2])
              const next = await stage.ask(owner!, one, String(first.body["accessToken"]))
              assert.deepStrictEqual([next.status, next.body["generation"]], [200, 3])
              assert.strictEqual((await stage.ask(owner!, one)).status, 200)
              assert.strictEqual((await stage.arrivals(one)).length, 2)
            }
            assert.isTrue(owner!.up())
          })
        }),
      limit
    )
  })
})
