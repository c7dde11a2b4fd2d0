import { Context, Duration, Effect, Layer, Option, type Redacted } from "effect"
import type { AuditTrail } from "./AuditTrail.ts"
import type { CallbackReceived, CallbackRejected } from "./Authorization.ts"
import type { AuthorizationServer } from "./AuthorizationServer.ts"
import { type DiscoveryError } from "./AuthorizationServer.ts"
import type { CallbackTransports } from "./CallbackTransport.ts"
import { type Delivery, type TransportError } from "./CallbackTransport.ts"
import type { CallbackUrlError } from "./CallbackUrl.ts"
import type { Cipher } from "./Cipher.ts"
import { type CipherError } from "./Cipher.ts"
import type { CompareCode } from "./CompareCode.ts"
import type { Connection, ConnectionKey } from "./Connection.ts"
import type { ConnectionStore } from "./ConnectionStore.ts"
import type { BrowserSecret, ConnectOffer, Departure } from "./ConnectOffer.ts"
import type { Digest, Entropy } from "./Entropy.ts"
import type { CompletionCodeInvalid, FlowNotReady, ReturnUrlError } from "./Finalization.ts"
import { type Confirmation, type Flow, type FlowId, isTerminal, type OnConflict, type TransportKind } from "./Flow.ts"
import { type FlowConflict, FlowNotFound, type FlowPreempted, FlowStore } from "./FlowStore.ts"
import type { HandOffRefused } from "./HandOff.ts"
import { makeAuditing } from "./internal/auditing.ts"
import { makeCallbacks } from "./internal/callbacks.ts"
import { makeHandingOff } from "./internal/handingOff.ts"
import { makeListeners } from "./internal/listeners.ts"
import { makePasting } from "./internal/pasting.ts"
import { makeStarter } from "./internal/starter.ts"
import { makeTickets } from "./internal/tickets.ts"
import { makeWaiters } from "./internal/waiters.ts"
import { makeWays } from "./internal/ways.ts"
import type { RegistrationStore } from "./RegistrationStore.ts"
import type { RevocationOutbox } from "./RevocationOutbox.ts"
import type { ServerSlug } from "./Server.ts"
import type { ServerStore } from "./ServerStore.ts"
import { type ServerNotFound } from "./ServerStore.ts"
import { flowTopic, Signals } from "./Signals.ts"
import type { StateTags } from "./StateTags.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** What a start may choose. */
export interface StartOptions {
  readonly transport?: TransportKind | undefined
  /** Scopes to request; default those of the server, else those that discovery recommends. */
  readonly scopes?: ReadonlyArray<string> | undefined
  readonly onConflict?: OnConflict | undefined
  readonly confirmation?: Confirmation | undefined
  /** Ask the person again although the connection is active and has the scopes. */
  readonly reauthorize?: boolean | undefined
  /** With confirmation `finalize`: where the browser brings the completion code. One of the registered return URLs, to the letter. */
  readonly returnTo?: string | undefined
  /** The page of ours where the person began: where the browser tells the outcome, it leads back there. Never a caller's choice. */
  readonly back?: string | undefined
}

/**
 * What a person is given to consent with: a URL of the provider's, where the transport or the embedding application binds
 * the person; a URL of ours, where the person's browser binds itself; or a code to enter at a page of the provider's, on any
 * device. Nothing binds that device: who knows the user code can consent, with an account of theirs.
 */
export type Ready =
  | { readonly _tag: "Started"; readonly flow: Flow; readonly authorizationUrl: Redacted.Redacted }
  | {
    readonly _tag: "Offered"
    readonly flow: Flow
    readonly connectUrl: Redacted.Redacted
    readonly compareCode: CompareCode
  }
  | {
    readonly _tag: "Verifying"
    readonly flow: Flow
    readonly userCode: Redacted.Redacted
    readonly verificationUri: string
    /** Holds the user code (RFC 8628 §3.3.1). */
    readonly verificationUriComplete: Redacted.Redacted | undefined
  }

/** What a start gives: what the person consents with, the running flow that the caller joined, or the connection that is there. */
export type Started =
  | Ready
  | { readonly _tag: "Joined"; readonly flow: Flow }
  | { readonly _tag: "AlreadyConnected"; readonly connection: Connection }

/** Errors of a start. The slot is free again and nothing stays open. */
export type StartError =
  | ServerNotFound
  | FlowConflict
  | FlowPreempted
  | ReturnUrlError
  | DiscoveryError
  | TransportError
  | CipherError
  | StoreError

/** Errors of a hand-off. The flow goes on as it was, if it still does, and nothing more is open. */
export type HandOffError =
  | FlowNotFound
  | HandOffRefused
  | ServerNotFound
  | DiscoveryError
  | TransportError
  | CipherError
  | StoreError

/** One flow and whose it is. */
export interface FlowOwner {
  readonly id: FlowId
  readonly tenant: TenantId
  readonly subject: SubjectId
}

/** Where a callback arrived. */
export interface CallbackPlace {
  readonly context: string
  /** What the browser holds; absent where no browser can hold anything. */
  readonly browser?: BrowserSecret | undefined
}

/** Use case: obtaining credentials with a person's consent. */
export class Flows extends Context.Service<Flows, {
  /**
   * Starts a flow: reserves the connection's slot, finds the authorization server and the client, opens the transport,
   * freezes all of it in the row, and only then returns a URL. Where any browser reaches the redirect URI, that is the
   * connect page, and the authorization URL stays sealed in the row until a browser is bound. Failing or interrupted, it
   * frees the slot and closes what it opened. An active connection that has the scopes is `AlreadyConnected` and no URL
   * is made; so is that of a server whose tokens need no person, made here without one: `AccessTokens.get` asks for the
   * first as for every later one.
   */
  start(key: ConnectionKey, options?: StartOptions): Effect.Effect<Started, StartError>
  /**
   * Where browsers come back over the gateway, for a server of a tenant: what a person registers with a provider. The server
   * need not be there yet. Undefined where this installation has no https public URL.
   */
  redirectUri(tenant: TenantId, server: ServerSlug): Effect.Effect<string | undefined>
  /** What a connect ticket offers to the browser that opens it; none when it leads nowhere. Reading changes nothing. */
  offer(ticket: Redacted.Redacted, browser: BrowserSecret): Effect.Effect<Option.Option<ConnectOffer>, StoreError>
  /**
   * Binds the flow of a ticket to the browser that holds the secret, and gives that browser the way to the provider. One
   * browser gets it, as often as it asks while the flow is pending; for every other one nothing changes and there is none.
   * Where the request is pushed to the provider, each asking pushes it anew; when that fails the browser may ask again.
   */
  depart(
    ticket: Redacted.Redacted,
    secret: Redacted.Redacted
  ): Effect.Effect<Option.Option<Departure>, CipherError | DiscoveryError | StoreError>
  /** The flow as it is now. */
  status(owner: FlowOwner): Effect.Effect<Flow, FlowNotFound | StoreError>
  /** The flow of a delivery's receipt, as soon as its browser can do no more, or when `atMost` has passed; none when it names none. */
  ofReceipt(receipt: Digest, atMost: Duration.Input): Effect.Effect<Option.Option<Flow>, StoreError>
  /** The newest flow of a connection; none when it was never started. */
  latest(key: ConnectionKey): Effect.Effect<Option.Option<Flow>, StoreError>
  /**
   * Returns when the flow settles, on whichever replica, or when `atMost` has passed, whichever is first. A waiter that is
   * interrupted is not felt by another.
   */
  wait(owner: FlowOwner, atMost: Duration.Input): Effect.Effect<Flow, FlowNotFound | StoreError>
  /**
   * As `wait`, for any number of waiters: calls `resume` once with what `wait` would return, and gives how to leave before
   * that. Such a waiter has no fiber and no timer of its own. `resume` must not throw.
   */
  onSettled(
    owner: FlowOwner,
    atMost: Duration.Input,
    resume: (settled: Effect.Effect<Flow, FlowNotFound | StoreError>) => void
  ): Effect.Effect<() => void>
  /**
   * Takes an authorization response. A response that does not match changes nothing. One that matches is claimed at once;
   * the exchange goes on in a fiber of the application, and the delivery tells when it is settled. A `state` that this
   * installation never made is rejected at constant cost and without a look at the store; without a key nothing is claimed.
   */
  complete(
    received: CallbackReceived,
    place: CallbackPlace
  ): Effect.Effect<Delivery, CallbackRejected | CipherError | StoreError>
  /**
   * Takes the address where a browser ended from the flow's owner, when that browser reaches no listener, and returns the
   * settled flow. It claims and is checked like any response; an address that is not this flow's, to the letter and with
   * its state, changes nothing, and neither does a second one. Only for loopback flows that nobody has to confirm.
   */
  paste(owner: FlowOwner, url: Redacted.Redacted): Effect.Effect<Flow, FlowNotFound | CallbackUrlError | StoreError>
  /**
   * The embedding application's word that the finishing user is the starting one: the owner comes from its session, the
   * completion code from that user's browser. Lets the held code be exchanged and returns the settled flow; the same call
   * again returns it too.
   */
  finalize(
    owner: FlowOwner,
    completionCode: Redacted.Redacted
  ): Effect.Effect<Flow, FlowNotFound | FlowNotReady | CompletionCodeInvalid | StoreError | CipherError>
  /**
   * Continues a pending flow with another transport, as the same flow: what was handed out before leads nowhere from then
   * on, and what is handed out now is good for the time that the flow has left. The scopes stay. Of any number of hand-offs,
   * callbacks and cancels at once one is first, and the others find what it left.
   */
  handOff(owner: FlowOwner, transport: TransportKind): Effect.Effect<Ready, HandOffError>
  /** Ends an open flow and closes its transport; what arrives later is void. Idempotent: a settled flow stays as it is. */
  cancel(owner: FlowOwner): Effect.Effect<void, FlowNotFound | StoreError>
  /** Closes the transports of flows that were settled elsewhere. `Housekeeping` calls it after a sweep. */
  release(ids: ReadonlyArray<FlowId>): Effect.Effect<void>
}>()("@valetkey/domain/Flows") {
  /** Layer of the use case. Closing it closes every open transport and waits for exchanges under way. */
  static readonly layer = (options?: FlowsOptions): Layer.Layer<
    Flows,
    never,
    | AuditTrail
    | AuthorizationServer
    | CallbackTransports
    | Cipher
    | ConnectionStore
    | Entropy
    | FlowStore
    | RegistrationStore
    | RevocationOutbox
    | ServerStore
    | Signals
    | StateTags
  > =>
    Layer.effect(
      Flows,
      Effect.gen(function*() {
        const ttl = Duration.fromInputUnsafe(options?.ttl ?? flowTtl)
        const flows = yield* FlowStore
        const signals = yield* Signals
        const audit = yield* makeAuditing
        const listeners = yield* makeListeners
        const waiters = yield* makeWaiters
        const callbacks = yield* makeCallbacks(listeners, waiters)
        const pasting = yield* makePasting(callbacks)
        const tickets = yield* makeTickets
        const ways = yield* makeWays({ device: options?.device ?? true, complete: callbacks.complete })
        const starter = yield* makeStarter({ ttl, listeners, ways, returnUrls: options?.returnUrls ?? [] })
        const handingOff = yield* makeHandingOff(listeners, ways)

        const status = Effect.fnUntraced(function*(owner: FlowOwner) {
          const flow = yield* flows.get(owner)
          return Option.isNone(flow) ? yield* new FlowNotFound() : flow.value
        })

        /** Closes the transports of flows that are over, whoever ended them. */
        const closeSettled = (open: ReadonlyArray<Flow>) =>
          Effect.forEach(open, ({ id, key }) =>
            status({ id, tenant: key.tenant, subject: key.subject }).pipe(
              Effect.map(({ state }) => isTerminal(state)),
              Effect.catchTags({
                FlowNotFound: () => Effect.succeed(true),
                StoreError: (error) => Effect.as(Effect.logWarning("flow of an open transport not read", error), false)
              }),
              Effect.flatMap((over) => over ? listeners.close(id) : Effect.void)
            ), { discard: true })

        // A flow that settles on another replica, or with its connection, must not keep a port open here.
        yield* signals.listen((topic) => {
          const flow = listeners.ofConnection(topic)
          return flow === undefined ? listeners.closeTopic(topic) : closeSettled([flow])
        })

        const ofReceipt = Effect.fnUntraced(function*(receipt: Digest, atMost: Duration.Input) {
          const found = yield* flows.findByState(receipt)
          if (Option.isNone(found) || isTerminal(found.value.state) || found.value.state === "awaiting_finalize") {
            return found
          }
          const { id, key } = found.value
          return yield* waiters.wait({ id, tenant: key.tenant, subject: key.subject }, atMost).pipe(
            Effect.asSome,
            Effect.catchTag("FlowNotFound", () => Effect.succeedNone)
          )
        })

        const cancel = Effect.fn("Flows.cancel")(function*(owner: FlowOwner) {
          const flow = yield* status(owner)
          yield* Effect.annotateCurrentSpan({ "valetkey.flow": owner.id })
          if (isTerminal(flow.state) && flow.state !== "expired") return
          if (yield* flows.cancel(owner)) yield* audit(flow.key, "flow.settled", "cancelled")
          yield* listeners.close(owner.id)
          yield* signals.notify(flowTopic(owner.id))
        })

        return Flows.of({
          start: starter.start,
          redirectUri: ways.redirectUri,
          offer: tickets.offer,
          depart: tickets.depart,
          status,
          ofReceipt,
          latest: flows.latest,
          wait: waiters.wait,
          onSettled: (owner, atMost, resume) => Effect.sync(() => waiters.register(owner, atMost, resume)),
          complete: callbacks.complete,
          paste: Effect.fnUntraced(function*(owner: FlowOwner, url: Redacted.Redacted) {
            yield* pasting.paste(owner, url)
            return yield* waiters.wait(owner)
          }),
          finalize: Effect.fn("Flows.finalize")(function*(owner: FlowOwner, completionCode: Redacted.Redacted) {
            yield* callbacks.finalize(owner, completionCode)
            return yield* waiters.wait(owner)
          }),
          handOff: handingOff.handOff,
          cancel,
          release: Effect.fnUntraced(function*(ids) {
            yield* Effect.forEach(ids, listeners.close, { discard: true })
            // Signals may be lost: what has been open for longer than a flow lives is looked at.
            yield* closeSettled(yield* listeners.olderThan(ttl))
          })
        })
      })
    )
}

/** How long a person has to consent, unless configured: also how long waiters wait. */
export const flowTtl = Duration.minutes(10)

/** Options of the use case. */
export interface FlowsOptions {
  readonly ttl?: Duration.Input
  /** Where a browser may be sent after the callback of a flow that waits for `finalize`, to the letter. Default nowhere. */
  readonly returnUrls?: ReadonlyArray<string>
  /** Whether people may consent on another device, which nothing binds to who started. Default true. */
  readonly device?: boolean
}
