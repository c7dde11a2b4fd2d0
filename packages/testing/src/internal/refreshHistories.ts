import { assert, type Vitest } from "@effect/vitest"
import type { Epoch } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import {
  type AttemptPolicy,
  decideClaim,
  decideFailure,
  decideSent,
  maxAttempts,
  type RefreshFailure,
  type RefreshState
} from "@valetkey/domain/Refresh"
import { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { Duration, Effect, Option, Schema } from "effect"
import { randomInt, randomUUID } from "node:crypto"
import { owedFor } from "./connectionSteps.ts"
import * as Fixture from "./contractFixtures.ts"

const Policy = Schema.Literals(["strict", "retry-once", "repeatable"])

const Step = Schema.Struct({
  actor: Schema.Literals([0, 1, 2]),
  action: Schema.Literals([
    "claim",
    "claim",
    "claim_without_reading",
    "send",
    "send",
    "commit",
    "commit",
    "fail_terminal",
    "fail_retryable",
    "fail_unclear",
    "fail_unknown",
    "reject",
    "deposit",
    "disconnect",
    "reborn",
    "wait",
    "tick"
  ])
})
type Step = typeof Step.Type

/** Plays random histories of three actors and compares the store with a model after every step. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
  const seed = Number(process.env["VALETKEY_SEED"] ?? randomInt(2 ** 31))
  it.effect.prop(
    `I1 I4 agrees with the model over random histories of three actors (VALETKEY_SEED=${seed})`,
    { policy: Policy, steps: Schema.Array(Step).check(Schema.isBetweenLength(1, 40)) },
    ({ policy, steps }) =>
      Effect.gen(function*() {
        const world = yield* begin(policy)
        for (const step of steps) {
          yield* Effect.andThen(play(world, step, options.advance), compare(world))
        }
      }),
    { timeout: 60_000, arbitrary: { runs: options.histories ?? 100, size: 40, seed } }
  )
}

/** What the store must hold, and what each actor remembers of it. Every duration is a multiple of five seconds. */
interface World {
  readonly key: ReturnType<typeof Fixture.newKey>
  readonly policy: AttemptPolicy
  readonly actors: Array<{ generation: number; epoch: Epoch; fence: number }>
  now: number
  state: RefreshState
  epoch: Epoch
  token: string
  rejected: boolean
  /** Requests that carried the refresh token of this generation and were not answered. */
  sent: number
}

const begin = Effect.fnUntraced(function*(policy: AttemptPolicy) {
  const connections = yield* ConnectionStore
  const key = Fixture.newKey()
  const write = Fixture.newWrite(0)
  assert.isTrue(yield* connections.deposit(key, write))
  const world: World = {
    key,
    policy,
    actors: [0, 1, 2].map(() => ({ generation: 1, epoch: write.epoch, fence: 0 })),
    now: 0,
    state: {
      status: { _tag: "active" },
      generation: Fixture.generation(1),
      epoch: write.epoch,
      phase: "idle",
      fence: 0,
      attempts: 0,
      leaseUntil: 0,
      notBefore: 0
    },
    epoch: write.epoch,
    token: Fixture.hex(write.credentials.accessToken),
    rejected: false,
    sent: 0
  }
  return world
})

const play = <R>(world: World, step: Step, advance: Fixture.ContractOptions<R>["advance"]) =>
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const actor = world.actors[step.actor]!
    const { key, policy } = world
    const generation = Fixture.generation(actor.generation)
    const lease = Fixture.lease
    const pass = (duration: Duration.Duration) =>
      Effect.andThen(advance(duration), Effect.sync(() => world.now += Duration.toMillis(duration)))

    const claim = Effect.gen(function*() {
      const input = { generation: Fixture.generation(actor.generation), epoch: actor.epoch, policy, lease }
      const decision = decideClaim(world.state, { ...input, now: world.now })
      world.state = decision.next ?? world.state
      const outcome = yield* connections.claim(key, input)
      assert.strictEqual(outcome._tag, decision.outcome._tag)
      // Stores number their fences as they like; only the order of them matters.
      if (outcome._tag === "Claimed") actor.fence = outcome.fence
      if (outcome._tag === "Claimed") world.state = { ...world.state, fence: outcome.fence }
    })
    const fail = Effect.fnUntraced(function*(failure: RefreshFailure) {
      const input = { generation, epoch: actor.epoch, fence: actor.fence, policy, failure }
      const next = decideFailure(world.state, { ...input, now: world.now })
      if (next?.status._tag === "active" && failure._tag === "Retryable" && world.state.phase === "sent") world.sent--
      world.state = next ?? world.state
      assert.strictEqual(yield* connections.fail(key, input), next !== undefined)
    })
    const renew = (epoch: Epoch, token: Uint8Array) => {
      world.epoch = epoch
      world.token = Fixture.hex(token)
      world.rejected = false
      world.sent = 0
      world.state = {
        ...world.state,
        status: { _tag: "active" },
        generation: Fixture.generation(world.state.generation + 1),
        epoch,
        phase: "idle",
        attempts: 0,
        leaseUntil: 0,
        notBefore: 0
      }
    }

    switch (step.action) {
      case "claim": {
        const read = Option.getOrThrow(yield* connections.get(key))
        actor.generation = read.generation
        actor.epoch = read.epoch
        return yield* claim
      }
      case "claim_without_reading":
        return yield* claim
      case "send": {
        const input = { generation, epoch: actor.epoch, fence: actor.fence, lease }
        const next = decideSent(world.state, { ...input, now: world.now })
        world.state = next ?? world.state
        if (next !== undefined) world.sent++
        assert.strictEqual(yield* connections.markSent(key, input), next !== undefined)
        return assert.isAtMost(world.sent, maxAttempts(policy))
      }
      case "commit": {
        const { status } = world.state
        const adopt = actor.generation === world.state.generation && actor.epoch === world.epoch &&
          (status._tag === "active" || status._tag === "needs_reauth")
        const credentials = Fixture.newCredentials()
        const resultId = randomUUID()
        const input = { generation, epoch: actor.epoch, credentials, resultId }
        assert.strictEqual(yield* connections.commit(key, input), adopt)
        assert.strictEqual(yield* connections.isCommitted(key, resultId), adopt)
        if (adopt) renew(actor.epoch, credentials.accessToken)
        return
      }
      case "fail_terminal":
        return yield* fail({ _tag: "Terminal", reason: "refresh_token_rejected" })
      case "fail_retryable":
        return yield* fail({ _tag: "Retryable", delay: Duration.minutes(1) })
      case "fail_unclear":
        return yield* fail({ _tag: "Retryable", delay: Duration.minutes(1), unclear: true })
      case "fail_unknown":
        // Past the pause after an unknown outcome, which is too short to tell apart on a real clock.
        yield* fail({ _tag: "UnknownOutcome" })
        return yield* pass(Duration.seconds(5))
      case "reject":
        if (actor.generation === world.state.generation && actor.epoch === world.epoch) world.rejected = true
        return yield* connections.reject(key, { generation, epoch: actor.epoch })
      case "deposit": {
        const write = Fixture.newWrite(actor.generation)
        const free = actor.generation === world.state.generation
        assert.strictEqual(yield* connections.deposit(key, write), free)
        if (free) renew(write.epoch, write.credentials.accessToken)
        return
      }
      case "disconnect": {
        const epoch = Fixture.newEpoch()
        const live = world.state.status._tag !== "revoking"
        assert.strictEqual(yield* connections.disconnect(key, epoch), live)
        if (live) {
          world.epoch = epoch
          world.token = ""
          world.state = { ...world.state, status: { _tag: "revoking" }, epoch, phase: "idle" }
        }
        return
      }
      case "reborn": {
        // The row is deleted and made anew: generation and fence begin again.
        const outbox = yield* RevocationOutbox
        yield* connections.disconnect(key, Fixture.newEpoch())
        for (const { id } of yield* owedFor(key)) yield* outbox.settle(id)
        const write = Fixture.newWrite(0)
        assert.isTrue(yield* connections.deposit(key, write))
        world.state = { ...world.state, generation: Fixture.generation(0), fence: 0 }
        return renew(write.epoch, write.credentials.accessToken)
      }
      case "wait":
        return yield* pass(Fixture.pastLease)
      case "tick":
        return yield* pass(Duration.seconds(10))
    }
  })

const compare = Effect.fnUntraced(function*(world: World) {
  const connections = yield* ConnectionStore
  const read = Option.getOrThrow(yield* connections.get(world.key))
  const { rejected, state } = world
  assert.deepStrictEqual(
    {
      status: read.status,
      generation: read.generation,
      epoch: read.epoch,
      token: Fixture.hex(read.credentials.accessToken)
    },
    { status: state.status, generation: state.generation, epoch: world.epoch, token: world.token }
  )
  if (state.status._tag !== "revoking") assert.strictEqual(read.rejected, rejected)
})
