import { DateTime, Duration, Effect, Option, type Redacted, Schedule } from "effect"
import { type Account, type AccountChange, type AccountVerdict, judge } from "../Account.ts"
import type { RedemptionError } from "../AuthorizationServer.ts"
import * as Checkpoint from "../Checkpoint.ts"
import { Cipher, type CipherError } from "../Cipher.ts"
import {
  type Connection,
  type ConnectionKey,
  Epoch,
  Generation,
  type Grant,
  sealContext as connectionContext,
  type SealedCredentials
} from "../Connection.ts"
import type { Credentials } from "../Credentials.ts"
import { Entropy } from "../Entropy.ts"
import { ExchangeDeadlines } from "../ExchangeDeadlines.ts"
import type { FlowFailure, FlowId } from "../Flow.ts"
import { FlowStore } from "../FlowStore.ts"
import { RevocationOutbox } from "../RevocationOutbox.ts"
import type { Sealed } from "../Sealed.ts"
import { connectionTopic, flowTopic, Signals } from "../Signals.ts"
import { StoreError } from "../StoreError.ts"
import { openAccount, sealAccount } from "./accounts.ts"
import { makeAuditing } from "./auditing.ts"
import { makeExpiries } from "./expiries.ts"
import { storeRetries } from "./insisting.ts"
import { makeOwnRows } from "./ownRow.ts"
import { sealCredentials } from "./sealing.ts"
import type { Waiters } from "./waiters.ts"

const { storing } = ExchangeDeadlines.standard
/** In how much of the time an attempt may begin; the rest is the last one's. */
const share = 0.75
const attempts = Schedule.max([storeRetries, Schedule.during(Duration.times(storing, share))])

/** Tries for the storing deadline to write what may not be lost; a store that hangs counts as one that is away. */
export const persist = <A, E>(write: Effect.Effect<A, E | StoreError>): Effect.Effect<A, E | StoreError> =>
  write.pipe(
    Effect.retry({ schedule: attempts, while: (error) => error instanceof StoreError }),
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
  readonly grant: Grant
  /** The scopes that were asked for: what was granted, when the answer names none. */
  readonly scopes: ReadonlyArray<string>
  /** What becomes of credentials of another account than the connection's. Default `refuse`. */
  readonly accountChange?: AccountChange | undefined
  /** Whether its client was registered for the server alone. */
  readonly clientOfServer?: boolean | undefined
}

/**
 * Builds what becomes of granted credentials: they are stored with their flow, or their revocation is owed. The waiters, if
 * they are at hand, get a completed flow without a read.
 */
export const makeStoring = Effect.fnUntraced(function*(waiters?: Waiters) {
  const flows = yield* FlowStore
  const connections = yield* makeOwnRows
  const outbox = yield* RevocationOutbox
  const cipher = yield* Cipher
  const entropy = yield* Entropy
  const signals = yield* Signals
  const audit = yield* makeAuditing
  const learnExpiry = yield* makeExpiries

  const seal = Effect.fnUntraced(function*(
    flow: Granted,
    answer: Credentials,
    clientSecret: Redacted.Redacted | undefined,
    epoch: Epoch,
    previous: number,
    account?: Account
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
      credentials: yield* sealCredentials(cipher, { key, epoch, generation: previous + 1 }, granted),
      ...(yield* sealAccount(cipher, { key, epoch }, account))
    }
  })

  /**
   * Judges the answer against the account of the connection, seals for the generation that follows the current one and
   * completes; does all of it again when somebody else was faster. What the judgement refuses is not stored, and fails
   * the flow.
   */
  const store = Effect.fnUntraced(function*(
    flow: Granted,
    answer: Credentials,
    clientSecret: Redacted.Redacted | undefined
  ) {
    const { fence, id, key } = flow
    const epoch = Epoch.make(yield* entropy.id)
    yield* Checkpoint.reach("flow.before_commit")
    let replacement: "ok" | "unknown" | undefined
    const attempt = Effect.gen(function*() {
      while (true) {
        const current = yield* connections.get(key)
        const previous: number = Option.isNone(current) ? 0 : current.value.generation
        const verdict = verdictOn(yield* accountOf(current), answer.account, flow.accountChange)
        if (verdict._tag !== "Accepted") {
          return { _tag: verdict._tag, connection: yield* seal(flow, answer, clientSecret, epoch, previous) } as const
        }
        // A retry that finds its own write, whose answer was lost, learns nothing of what that has replaced.
        if (Option.isNone(current) || current.value.epoch !== epoch) {
          replacement = !verdict.replaced ? undefined : verdict.account === undefined ? "unknown" : "ok"
        }
        const account = verdict.replaced && verdict.account !== undefined
          ? { ...verdict.account, replacedAt: yield* DateTime.now }
          : verdict.account
        const connection = yield* seal(flow, answer, clientSecret, epoch, previous, account)
        const completion = yield* flows.complete(id, fence, connection)
        if (completion._tag === "Completed") waiters?.settled(completion.flow)
        if (completion._tag !== "GenerationMoved") return { _tag: completion._tag, connection } as const
      }
    })
    const { _tag: outcome, connection } = yield* persist(attempt)
    yield* Checkpoint.reach("flow.after_commit")
    const stored = Effect.fnUntraced(function*(generation: number) {
      if (replacement !== undefined) yield* audit(key, "connection.account_replaced", replacement, generation)
      yield* settled(flow, "completed", { generation, obtained: answer.refreshToken })
      yield* learnExpiry(
        { key, epoch, generation: Generation.make(generation), grant: flow.grant },
        answer,
        clientSecret
      )
    })
    switch (outcome) {
      case "Completed":
        yield* signals.notify(connectionTopic(key))
        return yield* stored(connection.previous + 1)
      case "Changed":
        // Owed before the flow ends: nobody would come back to it.
        if (flow.clientOfServer === true) yield* persist(revokeUnstored(flow, connection))
        // A provider may end all that the account has granted to this client, which another connection may live on.
        else yield* audit(key, "flow.grant_left", "shared_client")
        return yield* refuse(flow, "account_changed")
      case "Unconfirmed":
        // Nobody knows whether tokens without a name are of the grant that stays: revoking them could reach it.
        return yield* refuse(flow, "account_unconfirmed")
      case "ClaimLost": {
        // Retrying after an ambiguous commit finds the flow completed by this very write: nothing is revoked then.
        const now = yield* persist(connections.get(key))
        if (Option.isSome(now) && now.value.epoch === epoch) return yield* stored(now.value.generation)
        yield* Effect.logWarning("flow was cancelled or superseded during its exchange; its tokens are revoked")
        yield* persist(revokeUnstored(flow, connection))
      }
    }
  })

  /** Whose the connection is that the answer would replace. */
  const accountOf = (
    connection: Option.Option<Connection>
  ): Effect.Effect<Account | "unreadable" | undefined, CipherError> =>
    Option.isNone(connection)
      ? Effect.undefined
      : Effect.catch(
        openAccount(cipher, connection.value),
        (error) => error.code === "integrity_error" ? Effect.succeed("unreadable" as const) : Effect.fail(error)
      )

  /** Ends a flow whose answer is not stored. */
  const refuse = Effect.fnUntraced(function*(flow: Granted, failure: FlowFailure) {
    if (yield* persist(flows.fail(flow.id, flow.fence, failure))) yield* settled(flow, failure)
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
    case "UntrustedIdToken":
      return "id_token_invalid"
  }
}

/** The verdict on an answer. An account that cannot be read is confirmed by nobody. */
const verdictOn = (
  known: Account | "unreadable" | undefined,
  told: Account | undefined,
  policy: AccountChange = "refuse"
): AccountVerdict => {
  if (known !== "unreadable") return judge(known, told, policy)
  return policy === "replace" ? { _tag: "Accepted", account: told, replaced: true } : { _tag: "Unconfirmed" }
}
