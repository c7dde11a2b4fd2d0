import { Duration, Effect, Option, type Redacted, Schedule } from "effect"
import type { RedemptionError } from "../AuthorizationServer.ts"
import * as Checkpoint from "../Checkpoint.ts"
import { Cipher } from "../Cipher.ts"
import {
  type ConnectionKey,
  Epoch,
  type Grant,
  sealContext as connectionContext,
  type SealedCredentials
} from "../Connection.ts"
import { ConnectionStore } from "../ConnectionStore.ts"
import type { Credentials } from "../Credentials.ts"
import { Entropy } from "../Entropy.ts"
import { ExchangeDeadlines } from "../ExchangeDeadlines.ts"
import type { FlowFailure, FlowId, TransportKind } from "../Flow.ts"
import { FlowStore } from "../FlowStore.ts"
import { RevocationOutbox } from "../RevocationOutbox.ts"
import type { Sealed } from "../Sealed.ts"
import { connectionTopic, flowTopic, Signals } from "../Signals.ts"
import { StoreError } from "../StoreError.ts"
import { makeAuditing } from "./auditing.ts"
import { sealCredentials } from "./sealing.ts"

const { storing } = ExchangeDeadlines.standard
/** In how much of the time an attempt may begin; the rest is the last one's. */
const share = 0.75
const storeRetries = Schedule.max([
  Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")]),
  Schedule.during(Duration.times(storing, share))
])

/** Tries for the storing deadline to write what may not be lost; a store that hangs counts as one that is away. */
export const persist = <A, E>(write: Effect.Effect<A, E | StoreError>): Effect.Effect<A, E | StoreError> =>
  write.pipe(
    Effect.retry({ schedule: storeRetries, while: (error) => error instanceof StoreError }),
    Effect.timeoutOrElse({
      duration: storing,
      orElse: () => Effect.fail(new StoreError({ code: "store_unavailable", operation: "Flows.exchange" }))
    }),
    Effect.interruptible
  )

/** A flow for which credentials were granted. */
export interface Granted {
  readonly id: FlowId
  readonly key: ConnectionKey
  readonly fence: number
  readonly transport: TransportKind
  readonly grant: Grant
  /** The scopes that were asked for: what was granted, when the answer names none. */
  readonly scopes: ReadonlyArray<string>
}

/** Builds what becomes of granted credentials: they are stored with their flow, or their revocation is owed. */
export const makeStoring = Effect.gen(function*() {
  const flows = yield* FlowStore
  const connections = yield* ConnectionStore
  const outbox = yield* RevocationOutbox
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const signals = yield* Signals
  const audit = yield* makeAuditing

  const seal = Effect.fnUntraced(function*(
    flow: Granted,
    answer: Credentials,
    clientSecret: Redacted.Redacted | undefined,
    epoch: Epoch,
    previous: number
  ) {
    const { grant, key } = flow
    const granted: Credentials = { ...answer, scopes: answer.scopes ?? flow.scopes }
    return {
      epoch,
      previous,
      grant,
      ...(clientSecret === undefined
        ? {}
        : { clientSecret: yield* cipher.seal(connectionContext(key, epoch, "client_secret", 0), clientSecret) }),
      credentials: yield* sealCredentials(cipher, { key, epoch, generation: previous + 1 }, granted)
    }
  })

  /** Seals for the generation that follows the current one and completes; seals again when a refresh was faster. */
  const store = Effect.fnUntraced(function*(
    flow: Granted,
    answer: Credentials,
    clientSecret: Redacted.Redacted | undefined
  ) {
    const { fence, id, key } = flow
    const epoch = Epoch.make(yield* entropy.id)
    yield* Checkpoint.reach("flow.before_commit")
    const attempt = Effect.gen(function*() {
      let previous = Option.match(yield* connections.get(key), {
        onNone: () => 0,
        onSome: (c) => c.generation as number
      })
      while (true) {
        const connection = yield* seal(flow, answer, clientSecret, epoch, previous)
        const completion = yield* flows.complete(id, fence, connection)
        if (completion._tag !== "GenerationMoved") return { completion, connection }
        previous = completion.current
      }
    })
    const { completion, connection } = yield* persist(attempt)
    yield* Checkpoint.reach("flow.after_commit")
    if (completion._tag === "Completed") {
      yield* signals.notify(connectionTopic(key))
      yield* settled(flow, "completed", { generation: connection.previous + 1, obtained: answer.refreshToken })
      return
    }
    // Retrying after an ambiguous commit finds the flow completed by this very write: nothing is revoked then.
    const now = yield* persist(connections.get(key))
    if (Option.isSome(now) && now.value.epoch === epoch) {
      return yield* settled(flow, "completed", { generation: now.value.generation, obtained: answer.refreshToken })
    }
    yield* Effect.logWarning("flow was cancelled or superseded during its exchange; its tokens are revoked")
    yield* persist(revokeUnstored(flow, connection))
  })

  /** Owes the revocation of credentials that belong nowhere. */
  const drop = Effect.fnUntraced(function*(
    flow: Granted,
    answer: Credentials,
    clientSecret: Redacted.Redacted | undefined
  ) {
    yield* persist(revokeUnstored(flow, yield* seal(flow, answer, clientSecret, Epoch.make(yield* entropy.id), 0)))
  })

  const revokeUnstored = Effect.fnUntraced(function*(
    flow: Granted,
    { epoch, ...write }: {
      readonly epoch: Epoch
      readonly previous: number
      readonly clientSecret?: Sealed
      readonly credentials: SealedCredentials
    }
  ) {
    const { key } = flow
    const secret = (
      sealed: Sealed | undefined,
      field: "access_token" | "refresh_token" | "client_secret",
      generation: number
    ) => sealed === undefined ? undefined : { sealed, context: connectionContext(key, epoch, field, generation) }
    yield* outbox.enqueue({
      id: epoch,
      key,
      grant: flow.grant,
      issuedAt: write.credentials.issuedAt,
      accessToken: secret(write.credentials.accessToken, "access_token", write.previous + 1),
      refreshToken: secret(write.credentials.refreshToken, "refresh_token", write.previous + 1),
      clientSecret: secret(write.clientSecret, "client_secret", 0)
    })
  })

  const settled = ({ id, key }: { readonly id: FlowId; readonly key: ConnectionKey }, outcome: string, told: {
    /** The error code of a provider's answer. */
    readonly answer?: string | undefined
    readonly generation?: number
    /** The refresh token that came; only its fingerprint is kept. */
    readonly obtained?: Redacted.Redacted | undefined
  } = {}) =>
    Effect.gen(function*() {
      yield* signals.wake(flowTopic(id))
      const secret = told.obtained && { purpose: "refresh_token" as const, value: told.obtained }
      yield* audit(key, "flow.settled", outcome, told.generation, secret, told.answer)
    })

  return { drop, settled, store }
})

/** What a redemption that gives no credentials makes of a flow. */
export const failureOf = ({ reason }: RedemptionError): FlowFailure | "outcome_unknown" => {
  switch (reason._tag) {
    case "Terminal":
      return "code_rejected"
    case "Configuration":
      return "client_misconfigured"
    case "Transient":
      return "authorization_server_unavailable"
    case "UnknownOutcome":
      return "outcome_unknown"
  }
}
