import { Clock, Deferred, Duration, Effect, Exit, Metric, Result, type Scope } from "effect"
import { type AccessTokenError, TokenError } from "../AccessToken.ts"
import type { RedemptionError } from "../AuthorizationServer.ts"
import type { Connection } from "../Connection.ts"
import type { Deadlines } from "../Deadlines.ts"
import { Entropy } from "../Entropy.ts"
import * as Instruments from "../Instruments.ts"
import * as Memo from "../Memo.ts"
import { type Admission, capOf, type EndpointAnswer, type RedemptionCap } from "../Pacing.ts"
import { type PacedEndpoint, PacingStore } from "../PacingStore.ts"
import { Signals } from "../Signals.ts"
import type { StoreError } from "../StoreError.ts"
import { makeRedemptionSlots, type Slot } from "./redemptionSlots.ts"

/** How long it is believed that an endpoint is well, should the signal of another replica be lost. */
const believed = Duration.seconds(2)
/** Endpoints that are remembered here; a forgotten one costs one read. */
const remembered = 10_000

/** The leave to ask a token endpoint once. */
export interface Pass {
  /** Whether there is time enough to send. */
  readonly isGood: Effect.Effect<boolean>
  /** Lets the next one ask. Idempotent; waits for nothing. */
  readonly release: Effect.Effect<void>
  /** Gives up before anything was sent. */
  readonly abandon: Effect.Effect<void>
  /** Records what the request has shown. */
  answered(answer: EndpointAnswer): Effect.Effect<void>
}

/**
 * Makes the pacing of redemptions. An endpoint that is well and has no cap costs one read in two seconds and no write;
 * everything else is what the replicas agree on in the store.
 */
export const makePacer = Effect.fnUntraced(function*(options: {
  readonly deadlines: Deadlines
  readonly caps: ReadonlyArray<RedemptionCap>
  readonly fork: (effect: Effect.Effect<void>) => Effect.Effect<void>
}) {
  const { caps, deadlines } = options
  const store = yield* PacingStore
  const signals = yield* Signals
  const entropy = yield* Entropy
  const takeSlot = yield* makeRedemptionSlots({ use: deadlines.refresh, fork: options.fork })
  /** When endpoints were last known to be well, by their topics. */
  const well = new Map<string, bigint>()
  /** Whether endpoints are well, where that is being read, by their topics. */
  const looks = new Map<string, Deferred.Deferred<boolean, StoreError>>()

  yield* signals.observe((topic) => void well.delete(topic))

  // Every flight asks for the topic of its endpoint.
  const topicOfName = Memo.make((name) => `endpoint:${entropy.digestOf(name)}`, remembered)
  const topicOf = ({ tenant, tokenEndpoint }: PacedEndpoint) => topicOfName(JSON.stringify([tenant, tokenEndpoint]))

  const setWell = (topic: string, now: bigint | undefined): void => {
    well.delete(topic)
    if (now === undefined) return
    well.set(topic, now)
    if (well.size <= remembered) return
    const { value: oldest } = well.keys().next()
    if (oldest !== undefined) well.delete(oldest)
  }

  const isWell = (topic: string, now: bigint): boolean => {
    const known = well.get(topic)
    return known !== undefined && now - known < Duration.toNanosUnsafe(believed)
  }

  /** Looks whether an endpoint is well. Whoever wants to know meanwhile is told the same; a probe is for one alone. */
  const look = Effect.fnUntraced(function*(endpoint: PacedEndpoint, topic: string) {
    const looking = looks.get(topic)
    if (looking !== undefined && (yield* Deferred.await(looking))) return go
    const answer = Deferred.makeUnsafe<boolean, StoreError>()
    if (looking === undefined) looks.set(topic, answer)
    const now = yield* Clock.monotonicTimeNanos
    return yield* store.admit(endpoint, { lease: deadlines.refresh }).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) setWell(topic, exit.value.healthy ? now : undefined)
          if (looks.get(topic) === answer) looks.delete(topic)
          Deferred.doneUnsafe(answer, Exit.map(exit, ({ healthy }) => healthy))
        })
      ),
      Effect.map(({ admission }) => admission)
    )
  })

  const admit = (endpoint: PacedEndpoint, topic: string): Effect.Effect<Admission, StoreError> =>
    Effect.flatMap(
      Clock.monotonicTimeNanos,
      (now) => isWell(topic, now) ? Effect.succeed(go) : look(endpoint, topic)
    )

  const report = (endpoint: PacedEndpoint, topic: string, answer: EndpointAnswer): Effect.Effect<void> =>
    Effect.gen(function*() {
      // Of an endpoint that is well, an answer says nothing new.
      if (answer._tag === "Answered" && well.has(topic)) return
      const now = yield* Clock.monotonicTimeNanos
      const { changed, healthy } = yield* store.report(endpoint, answer)
      if (changed) yield* signals.notify(topic)
      setWell(topic, healthy ? now : undefined)
    }).pipe(Effect.catch((error) => Effect.logWarning("state of a token endpoint not recorded", error)))

  /**
   * Leave to redeem where there is no turn to wait for: the endpoint is known to be well, or the read that is under way
   * says so, and nothing caps its provider.
   */
  const admitted = ({ grant, key }: Connection): Effect.Effect<Pass | undefined> => {
    if (capOf(caps, grant.tokenEndpoint) !== undefined) return Effect.undefined
    const endpoint = { tenant: key.tenant, tokenEndpoint: grant.tokenEndpoint }
    const topic = topicOf(endpoint)
    const pass: Pass = {
      isGood: Effect.succeed(true),
      release: Effect.void,
      abandon: Effect.void,
      answered: (answer) => report(endpoint, topic, answer)
    }
    return Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
      if (isWell(topic, now)) return Effect.succeed(pass)
      const looking = looks.get(topic)
      if (looking === undefined) return Effect.undefined
      return Effect.match(Deferred.await(looking), {
        onFailure: () => undefined,
        onSuccess: (isWell) => isWell ? pass : undefined
      })
    })
  }

  /** Leave to redeem, for the life of the scope: the endpoint may be asked, and a slot of its provider is free. */
  const wait = Effect.fnUntraced(function*(
    { grant, key }: Connection,
    patientUntil: bigint
  ): Effect.fn.Return<Pass, AccessTokenError | StoreError, Scope.Scope> {
    const endpoint = { tenant: key.tenant, tokenEndpoint: grant.tokenEndpoint }
    const topic = topicOf(endpoint)
    const cap = capOf(caps, grant.tokenEndpoint)
    let isProbing = false
    // A probe that was never sent is for somebody else.
    const abandonProbe = Effect.suspend(() => {
      if (!isProbing) return Effect.void
      isProbing = false
      return report(endpoint, topic, { _tag: "Abandoned" })
    })
    yield* Effect.addFinalizer(() => abandonProbe)
    // A probe that was granted is known here, whatever ends the wait.
    const ask = Effect.uninterruptible(
      Effect.tap(admit(endpoint, topic), ({ _tag }) => Effect.sync(() => isProbing = _tag === "Probe"))
    )
    /** Waits for a pause that is over soon, and says when to come back from any other. */
    const enter = Effect.gen(function*() {
      while (true) {
        const admission = yield* ask
        if (admission._tag !== "Wait") return
        const { reason, remaining } = admission
        if ((yield* Clock.monotonicTimeNanos) + Duration.toNanosUnsafe(remaining) > patientUntil) {
          yield* Metric.update(Instruments.paced(reason), 1)
          return yield* new TokenError({
            code: "authorization_server_unavailable",
            retryAfter: Duration.max(remaining, Duration.seconds(1))
          })
        }
        yield* Effect.sleep(remaining)
      }
    })
    yield* enter
    let slot: Slot | undefined
    while (cap !== undefined && slot === undefined) {
      const taken = yield* takeSlot(cap, key.tenant)
      // Much may have happened while others had their turn; and no pause is waited out with a slot that others could use.
      if (isProbing || (yield* ask)._tag !== "Wait") {
        slot = taken
      } else {
        yield* taken.release
        yield* enter
      }
    }
    return {
      isGood: slot?.lasts(deadlines.http) ?? Effect.succeed(true),
      release: slot?.release ?? Effect.void,
      abandon: Effect.andThen(slot?.release ?? Effect.void, abandonProbe),
      answered: (answer) =>
        Effect.suspend(() => {
          isProbing = false
          return report(endpoint, topic, answer)
        })
    }
  })

  return { admitted, admit: wait }
})

/** What the answer to a redemption says of the endpoint. */
export const shownBy = (answer: Result.Result<unknown, RedemptionError>): EndpointAnswer => {
  if (Result.isSuccess(answer)) return { _tag: "Answered" }
  const { reason } = answer.failure
  switch (reason._tag) {
    case "Terminal":
    case "UntrustedIdToken":
    case "Configuration":
      return { _tag: "Answered" }
    case "Transient":
      if (reason.retryAfter !== undefined) return { _tag: "Asked", delay: reason.retryAfter }
      // What nobody understands is a word to one user all the same: it closes the endpoint for nobody else.
      return { _tag: reason.unclear === true ? "Answered" : "Silent" }
    case "UnknownOutcome":
      return { _tag: "Silent" }
  }
}

const go: Admission = { _tag: "Go" }
