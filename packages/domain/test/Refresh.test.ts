import { assert, describe, it } from "@effect/vitest"
import { Epoch, type Generation } from "@valetkey/domain/Connection"
import {
  decideClaim,
  decideFailure,
  decideSent,
  maxAttempts,
  type RefreshFailure,
  type RefreshState
} from "@valetkey/domain/Refresh"
import type { RedemptionPolicy } from "@valetkey/domain/Server"
import { Duration } from "effect"
import fc from "fast-check"

const lease = Duration.seconds(60)
const generation = 1 as Generation
const epoch = Epoch.make("this life")
const initial: RefreshState = {
  status: { _tag: "active" },
  generation,
  epoch,
  phase: "idle",
  fence: 0,
  attempts: 0,
  leaseUntil: 0,
  notBefore: 0
}

const terminal: RefreshFailure = { _tag: "Terminal", reason: "refresh_token_rejected" }

type Action =
  | { readonly do: "claim" | "send"; readonly actor: number }
  | { readonly do: "fail"; readonly actor: number; readonly failure: RefreshFailure }
  | { readonly do: "pass"; readonly seconds: number }

const actor = fc.nat({ max: 2 })
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ do: fc.constantFrom("claim" as const, "send" as const), actor }),
  fc.record({
    do: fc.constant("fail" as const),
    actor,
    failure: fc.constantFrom<RefreshFailure>(
      { _tag: "UnknownOutcome" },
      terminal,
      { _tag: "Retryable", delay: Duration.seconds(1) }
    )
  }),
  fc.record({ do: fc.constant("pass" as const), seconds: fc.nat({ max: 90 }) })
)

describe("the refresh state machine", () => {
  for (const policy of ["strict", "retry-once"] satisfies ReadonlyArray<RedemptionPolicy>) {
    it(`I1 ${policy}: sends one refresh token at most ${maxAttempts(policy)} times under crashes, pauses and races`, () => {
      fc.assert(
        fc.property(fc.array(action, { maxLength: 60, size: "max" }), (actions) => {
          let state = initial
          let now = 1_000_000
          // Requests that may have redeemed the token: all but those that the provider answered without redeeming.
          let sent = 0
          const fences: Array<number | undefined> = [undefined, undefined, undefined]
          for (const step of actions) {
            if (step.do === "pass") {
              now += step.seconds * 1000
              continue
            }
            const fence = fences[step.actor]
            if (step.do === "claim") {
              const before = state
              const { next, outcome } = decideClaim(state, { generation, epoch, policy, lease, now })
              state = next ?? state
              if (outcome._tag !== "Claimed") continue
              // Whoever held the claim before may send nothing more.
              assert.isTrue(outcome.fence > before.fence)
              fences[step.actor] = outcome.fence
            } else if (fence !== undefined && step.do === "send") {
              const next = decideSent(state, { generation, epoch, fence, lease, now })
              if (next === undefined) continue
              state = next
              sent++
            } else if (fence !== undefined && step.do === "fail") {
              const next = decideFailure(state, { generation, epoch, fence, policy, failure: step.failure, now })
              if (next !== undefined && state.phase === "sent" && step.failure._tag === "Retryable") sent--
              state = next ?? state
            }
          }
          assert.isAtMost(sent, maxAttempts(policy))
        }),
        { numRuns: 3000 }
      )
    })
  }

  it("takes over an expired claim at once, since nothing was sent", () => {
    const claimed = decideClaim(initial, { generation, epoch, policy: "strict", lease, now: 0 }).next!
    assert.strictEqual(
      decideClaim(claimed, { generation, epoch, policy: "strict", lease, now: 59_999 }).outcome._tag,
      "Busy"
    )
    assert.strictEqual(
      decideClaim(claimed, { generation, epoch, policy: "strict", lease, now: 60_000 }).outcome._tag,
      "Claimed"
    )
  })

  it("strict: an expired send asks the person; retry-once: it may be sent once more", () => {
    const claimed = decideClaim(initial, { generation, epoch, policy: "strict", lease, now: 0 }).next!
    const sent = decideSent(claimed, { generation, epoch, fence: 1, lease, now: 0 })!
    const strict = decideClaim(sent, { generation, epoch, policy: "strict", lease, now: 60_000 })
    assert.deepStrictEqual(strict.next?.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
    assert.strictEqual(
      decideClaim(sent, { generation, epoch, policy: "retry-once", lease, now: 60_000 }).outcome._tag,
      "Claimed"
    )
  })

  it("I1 an answered attempt does not undo an earlier one whose outcome is unknown", () => {
    const policy = "retry-once"
    const unknown: RefreshFailure = { _tag: "UnknownOutcome" }
    let state = initial
    let now = 0
    const send = (failure: RefreshFailure) => {
      now += 60_000
      state = decideClaim(state, { generation, epoch, policy, lease, now }).next!
      state = decideSent(state, { generation, epoch, fence: state.fence, lease, now })!
      state = decideFailure(state, { generation, epoch, fence: state.fence, policy, failure, now })!
    }
    send(unknown)
    send({ _tag: "Retryable", delay: Duration.seconds(1) })
    send(unknown)
    assert.deepStrictEqual(state.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
  })

  it("says that the outcome was unknown when the provider refuses what an earlier attempt may have used up", () => {
    const policy = "retry-once"
    let state = initial
    for (const failure of [{ _tag: "UnknownOutcome" }, terminal] satisfies ReadonlyArray<RefreshFailure>) {
      state = decideClaim(state, { generation, epoch, policy, lease, now: 60_000 * state.fence }).next!
      state = decideSent(state, { generation, epoch, fence: state.fence, lease, now: 0 })!
      state = decideFailure(state, { generation, epoch, fence: state.fence, policy, failure, now: 0 })!
    }
    assert.deepStrictEqual(state.status, { _tag: "needs_reauth", reason: "unknown_outcome" })
  })

  it("records nothing for a stale fence, another generation, another life or a connection that is not active", () => {
    const claimed = decideClaim(initial, { generation, epoch, policy: "strict", lease, now: 0 }).next!
    for (
      const [state, input] of [
        [claimed, { generation, epoch, fence: 2 }],
        [claimed, { generation: 2 as Generation, epoch, fence: 1 }],
        [claimed, { generation, epoch: Epoch.make("another life"), fence: 1 }],
        [{ ...claimed, status: { _tag: "revoking" } as const }, { generation, epoch, fence: 1 }]
      ] as const
    ) {
      assert.isUndefined(decideFailure(state, { ...input, policy: "strict", failure: terminal, now: 0 }))
      assert.isUndefined(decideSent(state, { ...input, lease, now: 0 }))
    }
  })

  it("waits as long as the provider asked", () => {
    const claimed = decideClaim(initial, { generation, epoch, policy: "strict", lease, now: 0 }).next!
    const paused = decideFailure(claimed, {
      generation,
      epoch,
      fence: 1,
      policy: "strict",
      failure: { _tag: "Retryable", delay: Duration.seconds(30) },
      now: 0
    })!
    assert.strictEqual(
      decideClaim(paused, { generation, epoch, policy: "strict", lease, now: 29_999 }).outcome._tag,
      "Paced"
    )
    assert.strictEqual(
      decideClaim(paused, { generation, epoch, policy: "strict", lease, now: 30_000 }).outcome._tag,
      "Claimed"
    )
  })
})
