import { Duration, Effect, FiberSet, Option, Redacted, Result, Schedule } from "effect"
import { CallbackAccepted, type CallbackReceived, CallbackRejected } from "../Authorization.ts"
import { AuthorizationServer, RedemptionError, ResponseError } from "../AuthorizationServer.ts"
import type { Delivery } from "../CallbackTransport.ts"
import * as Checkpoint from "../Checkpoint.ts"
import { Cipher } from "../Cipher.ts"
import type { ConnectionKey } from "../Connection.ts"
import { type Digest, Entropy } from "../Entropy.ts"
import { ExchangeDeadlines } from "../ExchangeDeadlines.ts"
import { CompletionCodeInvalid, FlowNotReady } from "../Finalization.ts"
import { type Flow, type FlowFailure, type FlowId, isTerminal, sealContext } from "../Flow.ts"
import type { CallbackPlace, FlowOwner } from "../Flows.ts"
import { type ClaimedFlow, FlowNotFound, FlowStore } from "../FlowStore.ts"
import { RegistrationStore } from "../RegistrationStore.ts"
import type { StoreError } from "../StoreError.ts"
import { unbind } from "./boundSecrets.ts"
import { equalInConstantTime } from "./constantTime.ts"
import { completionCodeOf, nonceOf } from "./derivations.ts"
import type { Listeners } from "./listeners.ts"
import { makeRefusedClients } from "./refusedClients.ts"
import { asksForToken } from "./signedResponses.ts"
import { makeStateGate } from "./stateGate.ts"
import { failureOf, type Granted, makeStoring, persist } from "./storing.ts"
import type { Waiters } from "./waiters.ts"

const deadlines = ExchangeDeadlines.standard
const keysUnavailable = new ResponseError({ code: "authorization_server_unavailable" })
/** How long a code is held for the embedding application. */
const holding = Duration.seconds(60)
/** Between two looks of a repeated response whether the code of the first one is held by now. */
const pause = Duration.millis(50)
/** How long it looks for the store, and before that while the first one may be verified. */
const storingTime = Duration.seconds(2)
const looksFor = ({ snapshot }: Flow): number =>
  Duration.toMillis(asksForToken(snapshot) ? Duration.sum(deadlines.verifying, storingTime) : storingTime) /
  Duration.toMillis(pause)

/**
 * Builds `Flows.complete` and `Flows.finalize`, and what `Flows.paste` shares with them: the claim, the exchange in an
 * application-owned fiber, the fenced write.
 */
export const makeCallbacks = Effect.fnUntraced(function*(listeners: Listeners, waiters: Waiters) {
  const flows = yield* FlowStore
  const storing = yield* makeStoring(waiters)
  const forgetRefused = makeRefusedClients(yield* RegistrationStore)
  const server = yield* AuthorizationServer
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const worthALook = yield* makeStateGate
  const fibers = yield* FiberSet.make<void>()
  yield* Effect.addFinalizer(() =>
    FiberSet.awaitEmpty(fibers).pipe(Effect.timeoutOption(deadlines.settle), Effect.ignore)
  )

  const complete = Effect.fn("Flows.complete")(function*(received: CallbackReceived, place: CallbackPlace) {
    yield* worthALook(received.state)
    const stateHash = entropy.digest(received.state)
    if (received.token !== undefined && (yield* isUnasked(stateHash))) {
      return yield* new CallbackRejected({ code: "callback_malformed" })
    }
    const claimed = yield* claim(stateHash, place)
    if (Option.isSome(claimed)) return yield* take(received, stateHash, claimed.value)
    // A repeated callback of a flow that was already claimed may see how it ended; everything else learns nothing.
    const flow = yield* afterTaking(flows.findByState(stateHash))
    if (Option.isNone(flow) || flow.value.state === "pending") {
      return yield* new CallbackRejected({ code: "callback_unknown" })
    }
    return delivery(flow.value, stateHash, yield* repeated(received, stateHash, place, flow.value))
  }, Effect.uninterruptible)

  /** Whether a signed token answers a flow that asked for none: anybody can write one, so it changes nothing. */
  const isUnasked = (stateHash: Digest) =>
    Effect.map(flows.findByState(stateHash), Option.exists(({ snapshot }) => !asksForToken(snapshot)))

  const claim = (stateHash: Digest, place: CallbackPlace) =>
    flows.claim({ ...placeOf(stateHash, place), lease: deadlines.lease })

  const placeOf = (stateHash: Digest, { browser, context }: CallbackPlace) => {
    const secret = browser?.(stateHash)
    return { stateHash, bindingHash: secret === undefined ? undefined : entropy.digest(secret), context }
  }

  /** Looks again while another request is between the claim and the code: a browser may send both at once. */
  const afterTaking = (find: Effect.Effect<Option.Option<Flow>, StoreError>) =>
    Effect.suspend(() => {
      let looks = 0
      return Effect.repeat(find, {
        schedule: Schedule.spaced(pause),
        while: Option.exists((flow) =>
          flow.confirmation === "finalize" && flow.state === "exchanging" && flow.completionHash === undefined &&
          looks++ < looksFor(flow)
        )
      })
    })

  /**
   * The way back to the embedding application once more, for the very response that is held: a browser may ask twice and
   * follow the second answer. Whoever knows `state` alone, as the starter does, knows no code and gets nothing; what they
   * send is verified as it comes, which leaves no line in the log and asks for keys no oftener than anything else does.
   */
  const repeated = Effect.fnUntraced(function*(
    received: CallbackReceived,
    stateHash: Digest,
    place: CallbackPlace,
    { completionHash, state }: Flow
  ) {
    if (state !== "awaiting_finalize") return undefined
    const found = yield* flows.held(placeOf(stateHash, place))
    if (Option.isNone(found)) return undefined
    const { code: held, flow } = found.value
    const accepted = yield* Effect.result(judge(received, flow))
    if (Result.isFailure(accepted)) return undefined
    const code = yield* cipher.open(sealContext(flow.key.tenant, flow.id, "authorization_code"), held)
    if (!equalInConstantTime(Redacted.value(code), Redacted.value(accepted.success.code))) return undefined
    const completionCode = completionCodeOf(entropy, (yield* openVerifier(flow)).secret)
    // A replica of the version before has made up another one.
    return entropy.digest(completionCode) === completionHash
      ? onward(flow, { completion_code: Redacted.value(completionCode) })
      : undefined
  }, Effect.catchTag("CipherError", (error) => Effect.as(Effect.logWarning("held code not opened", error), undefined)))

  /** What becomes of a response that claimed its flow. */
  const take = Effect.fnUntraced(function*(received: CallbackReceived, stateHash: Digest, claimed: ClaimedFlow) {
    yield* Effect.annotateCurrentSpan({ "valetkey.flow": claimed.id })
    if (claimed.confirmation !== "finalize") {
      yield* FiberSet.run(fibers, settling(received, claimed))
      return delivery(claimed, stateHash)
    }
    const accepted = yield* judged(received, claimed)
    if (Result.isSuccess(accepted)) {
      return delivery(claimed, stateHash, onward(claimed, yield* hold(accepted.success)))
    }
    yield* FiberSet.run(fibers, refuse(claimed, accepted.failure))
    return delivery(claimed, stateHash, onward(claimed, { error: accepted.failure }))
  }, Effect.uninterruptible)

  /** Judges a response that waits for nobody else, and exchanges what it grants. */
  const settling = Effect.fnUntraced(function*(received: CallbackReceived, claimed: ClaimedFlow) {
    const accepted = yield* judged(received, claimed)
    yield* Result.isSuccess(accepted) ? exchange(accepted.success) : refuse(claimed, accepted.failure)
  }, Effect.uninterruptible)

  /** What a claimed response comes to; its owner reads in the log which check it failed. */
  const judged = (received: CallbackReceived, flow: ClaimedFlow) =>
    judge(received, flow).pipe(
      Effect.tapErrorTag("ResponseError", (error) => Effect.logWarning("signed response refused", error)),
      Effect.annotateLogs({ "valetkey.flow": flow.id }),
      Effect.mapError((failure) => typeof failure === "string" ? failure : failure.code),
      Effect.result
    )

  /** Accepts a response. One that has to be signed is verified first; of any other nobody's keys are asked for. */
  const judge = Effect.fnUntraced(function*(
    received: CallbackReceived,
    flow: ClaimedFlow
  ): Effect.fn.Return<CallbackAccepted, FlowFailure | ResponseError> {
    const { state, token } = received
    if (token === undefined || flow.authorization.snapshot.signedResponse === undefined) {
      return yield* Effect.fromResult(CallbackAccepted.accept(received, flow))
    }
    const claims = yield* server.verifyResponse(flow, { token, state }).pipe(
      Effect.timeoutOrElse({ duration: deadlines.verifying, orElse: () => Effect.fail(keysUnavailable) })
    )
    const accepted = Result.flatMap(received.verified(claims), (verified) => CallbackAccepted.accept(verified, flow))
    return yield* Effect.fromResult(accepted)
  })

  const delivery = (
    flow: { readonly id: FlowId; readonly key: ConnectionKey },
    receipt: Digest,
    onward?: Redacted.Redacted
  ): Delivery => ({
    flowId: flow.id,
    receipt,
    ...(onward === undefined ? {} : { onward }),
    settled: Effect.catchTag(
      waiters.wait({ id: flow.id, tenant: flow.key.tenant, subject: flow.key.subject }),
      "FlowNotFound",
      () => Effect.die("a claimed flow is kept until its retention ends")
    )
  })

  const finalize = Effect.fnUntraced(function*(owner: FlowOwner, completionCode: Redacted.Redacted) {
    const completionHash = entropy.digest(completionCode)
    const held = yield* flows.resume({ ...owner, completionHash, lease: deadlines.lease })
    if (Option.isNone(held)) {
      const flow = yield* flows.get(owner)
      if (Option.isNone(flow)) return yield* new FlowNotFound()
      if (flow.value.completionHash === undefined && !isTerminal(flow.value.state)) return yield* new FlowNotReady()
      // A repeated call may see how the flow ended.
      if (flow.value.completionHash !== completionHash) return yield* new CompletionCodeInvalid()
      return
    }
    const { code, flow } = held.value
    const opened = yield* cipher.open(sealContext(flow.key.tenant, flow.id, "authorization_code"), code).pipe(
      Effect.tapError(({ code }) => settle(flow, code))
    )
    yield* FiberSet.run(fibers, exchange(CallbackAccepted.resume(flow, opened)))
  }, Effect.uninterruptible)

  /** Holds the code, sealed, and gives what the browser takes to the embedding application. */
  const hold = Effect.fnUntraced(function*({ code, flow }: CallbackAccepted) {
    const held = yield* Effect.gen(function*() {
      const completionCode = completionCodeOf(entropy, (yield* openVerifier(flow)).secret)
      const sealed = yield* cipher.seal(sealContext(flow.key.tenant, flow.id, "authorization_code"), code)
      const completionHash = entropy.digest(completionCode)
      return (yield* flows.hold(flow.id, flow.fence, { code: sealed, completionHash, ttl: holding }))
        ? { completion_code: Redacted.value(completionCode) }
        : { error: "flow_cancelled" }
    }).pipe(
      // The code is lost with this request; nothing was sent.
      Effect.tapErrorTag("StoreError", () => Effect.ignore(settle(flow, "storage_failed"))),
      Effect.catchTag("CipherError", ({ code }) => Effect.as(settle(flow, code), { error: code }))
    )
    yield* listeners.close(flow.id)
    return held
  })

  /** The way back to the embedding application; none for a flow that belongs to no such application. */
  const onward = (
    { authorization: { snapshot }, id }: ClaimedFlow,
    parameters: Readonly<Record<string, string>>
  ): Redacted.Redacted | undefined => {
    if (snapshot.returnTo === undefined) return undefined
    const url = new URL(snapshot.returnTo)
    for (const [name, value] of Object.entries({ flow_id: id, ...parameters })) url.searchParams.set(name, value)
    return Redacted.make(url.href)
  }

  /** Ends a flow whose response grants nothing. */
  const refuse = (flow: ClaimedFlow, failure: FlowFailure): Effect.Effect<void> =>
    persist(settle(flow, failure)).pipe(
      Effect.catchCause((cause) => Effect.logError("flow not settled; its lease settles it", cause)),
      Effect.ensuring(listeners.close(flow.id)),
      Effect.annotateLogs({ "valetkey.flow": flow.id }),
      Effect.uninterruptible
    )

  /** Posts the code once and stores what comes back. Whatever happens, the flow settles or its lease runs out. */
  const exchange = (accepted: CallbackAccepted): Effect.Effect<void> => {
    const { flow } = accepted
    return Effect.gen(function*() {
      yield* Checkpoint.reach("flow.claimed")
      const secrets = yield* openSecrets(flow)
      yield* Checkpoint.reach("flow.code_sent")
      const answer = yield* server.exchange(accepted, secrets).pipe(
        Effect.timeoutOrElse({
          duration: deadlines.exchange,
          orElse: () => Effect.fail(new RedemptionError({ reason: { _tag: "UnknownOutcome" } }))
        }),
        Effect.interruptible,
        Effect.result
      )
      yield* Checkpoint.reach("flow.tokens_received")
      if (Result.isSuccess(answer)) return yield* storing.store(grantedOf(flow), answer.success, secrets.clientSecret)
      yield* Effect.logWarning("code exchange failed", answer.failure)
      yield* forgetRefused(flow.authorization.grant, flow.key, answer.failure)
      const { reason } = answer.failure
      yield* persist(settle(flow, failureOf(answer.failure), "error" in reason ? reason.error : undefined))
    }).pipe(
      Effect.catchTags({
        CipherError: (error) =>
          Effect.andThen(Effect.logError("flow stopped by the cipher", error), settle(flow, error.code)),
        StoreError: (error) => Effect.andThen(Effect.logError("flow not stored", error), settle(flow, "storage_failed"))
      }),
      Effect.catchCause((cause) => Effect.logError("flow not settled; its lease settles it", cause)),
      Effect.ensuring(listeners.close(flow.id)),
      Effect.annotateLogs({ "valetkey.flow": flow.id }),
      Effect.withSpan("Flows.exchange", { attributes: { "valetkey.flow": flow.id } }),
      Effect.uninterruptible
    )
  }

  const openVerifier = ({ authorization: { codeVerifier }, id, key }: ClaimedFlow) =>
    Effect.map(cipher.open(sealContext(key.tenant, id, "code_verifier"), codeVerifier), unbind)

  const openSecrets = Effect.fnUntraced(function*(flow: ClaimedFlow) {
    const { clientSecret } = flow.authorization
    const { tenant } = flow.key
    const { proofKey, secret: verifier } = yield* openVerifier(flow)
    return {
      codeVerifier: verifier,
      proofKey,
      nonce: flow.authorization.snapshot.openid === true ? nonceOf(entropy, verifier) : undefined,
      clientSecret: clientSecret === undefined
        ? undefined
        : yield* cipher.open(sealContext(tenant, flow.id, "client_secret"), clientSecret)
    }
  })

  const settle = (flow: ClaimedFlow, failure: FlowFailure | "outcome_unknown", answer?: string) =>
    Effect.gen(function*() {
      if (yield* flows.fail(flow.id, flow.fence, failure)) yield* storing.settled(flow, failure, { answer })
      yield* listeners.close(flow.id)
    })

  return { claim, complete, finalize, take }
})

const grantedOf = ({ authorization: { grant, snapshot }, ...flow }: ClaimedFlow): Granted => ({
  ...flow,
  grant,
  scopes: snapshot.scopes,
  accountChange: snapshot.accountChange,
  clientOfServer: snapshot.clientOfServer
})

/** What callbacks are made of. */
export type Callbacks = Effect.Success<ReturnType<typeof makeCallbacks>>
