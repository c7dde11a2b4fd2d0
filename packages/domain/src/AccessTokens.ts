import { Context, DateTime, Deferred, Duration, Effect, FiberSet, Layer, Metric, type Redacted } from "effect"
import {
  type AccessToken,
  type AccessTokenError,
  activeConnection,
  defaultValidity,
  openAccessToken,
  TokenError
} from "./AccessToken.ts"
import { AuditTrail } from "./AuditTrail.ts"
import type { AuthorizationServer } from "./AuthorizationServer.ts"
import { Cipher } from "./Cipher.ts"
import type { Connection, ConnectionKey } from "./Connection.ts"
import { ConnectionStore } from "./ConnectionStore.ts"
import { isFresh } from "./Credentials.ts"
import { type Deadlines, DeadlinesInForce } from "./Deadlines.ts"
import { type Digest, Entropy } from "./Entropy.ts"
import * as Instruments from "./Instruments.ts"
import { brakeOf } from "./internal/brake.ts"
import { makeCallersPatience } from "./internal/patience.ts"
import { makeRefresher } from "./internal/refresher.ts"
import { makeRenewals } from "./internal/renewals.ts"
import { makeStoreAbsence } from "./internal/storeAbsence.ts"
import type { RedemptionCap } from "./Pacing.ts"
import type { PacingStore } from "./PacingStore.ts"
import type { RegistrationStore } from "./RegistrationStore.ts"
import type { RevocationOutbox } from "./RevocationOutbox.ts"
import type { RevocationReceipts } from "./RevocationReceipts.ts"
import type { ServerStore } from "./ServerStore.ts"
import type { Signals } from "./Signals.ts"
import type { Spool } from "./Spool.ts"

/** What a caller may ask of a token. */
export interface TokenDemand {
  /** How long the token must stay valid; capped at half of its lifetime. Default `defaultValidity`. */
  readonly minValidity?: Duration.Input | undefined
  /** The access token that the resource refused. It is not handed out again. */
  readonly rejected?: Redacted.Redacted | undefined
  /** How long the caller waits for a refresh. Default the waiter deadline. The refresh itself goes on. */
  readonly patience?: Duration.Input | undefined
}

/** Use case: a fresh access token for a connection, redeeming its refresh token at most as often as the policy says. */
export class AccessTokens extends Context.Service<AccessTokens, {
  /**
   * Returns the stored token while it is good; otherwise refreshes. Callers of this process share one refresh, replicas
   * take turns by lease. The refresh runs in a fiber of the application: a caller that goes away changes nothing. A token
   * that is about to end is handed out all the same, and renewed by the same refresh while nobody waits.
   */
  get(key: ConnectionKey, demand?: TokenDemand): Effect.Effect<AccessToken, AccessTokenError>
  /**
   * Renews these very credentials, however long they are good for: a refresh token is kept from idling out by that. Joins
   * what is under way; when somebody else was faster, that is as good.
   */
  renew(connection: Connection): Effect.Effect<AccessToken, AccessTokenError>
  /** Whether `get` would have the stored token of this connection renewed ahead of its end. Costs no query. */
  isDue(connection: Connection, now: DateTime.Utc): boolean
}>()("@valetkey/domain/AccessTokens") {
  /**
   * Layer of the use case. Closing it waits for refreshes that have claimed their connection, no longer than the refresh
   * deadline; others end with `refresh_in_progress` and send nothing.
   */
  static readonly layer = (options?: {
    readonly deadlines?: Deadlines
    /** How many redemptions may be under way at a provider at once, over all tenants and replicas. Default no limit. */
    readonly caps?: ReadonlyArray<RedemptionCap>
    /** How long before its end a token that is asked for is renewed. Default never. */
    readonly ahead?: Duration.Duration
  }): Layer.Layer<
    AccessTokens,
    never,
    | AuditTrail
    | AuthorizationServer
    | Cipher
    | ConnectionStore
    | Entropy
    | PacingStore
    | RevocationOutbox
    | RegistrationStore
    | RevocationReceipts
    | ServerStore
    | Signals
    | Spool
  > =>
    Layer.effect(
      AccessTokens,
      Effect.gen(function*() {
        const deadlines = options?.deadlines ?? (yield* DeadlinesInForce)
        const connections = yield* ConnectionStore
        const cipher = yield* Cipher
        const entropy = yield* Entropy
        const trail = yield* AuditTrail
        const withPatience = yield* makeCallersPatience
        const fibers = yield* FiberSet.make<void>()
        const closing = yield* Deferred.make<void>()
        const absence = makeStoreAbsence()
        const refresher = yield* makeRefresher({
          absence,
          deadlines,
          caps: options?.caps ?? [],
          fork: (effect) => Effect.asVoid(FiberSet.run(fibers, effect)),
          closing
        })
        yield* Effect.addFinalizer(() =>
          Deferred.succeed(closing, undefined).pipe(
            Effect.andThen(FiberSet.awaitEmpty(fibers)),
            Effect.timeoutOption(deadlines.refresh),
            Effect.ignore
          )
        )
        const flights = new Map<string, Flight>()
        const count = Effect.suspend(() => Metric.update(Instruments.refreshesInFlight, flights.size))

        const join = Effect.fnUntraced(function*(
          connection: Connection,
          minValidity: Duration.Duration,
          renewing?: Connection
        ) {
          const name = flightOf(connection)
          const running = flights.get(name)
          if (running !== undefined) return running
          const flight: Flight = { minValidity, token: Deferred.makeUnsafe() }
          flights.set(name, flight)
          yield* count
          yield* FiberSet.run(
            fibers,
            refresher.refresh(connection.key, minValidity, { seen: connection, renewing }).pipe(
              Effect.onExit((exit) =>
                Effect.suspend(() => {
                  flights.delete(name)
                  return Effect.andThen(
                    count,
                    Deferred.done(flight.token, exit)
                  )
                })
              ),
              Effect.exit,
              Effect.asVoid
            )
          )
          return flight
        }, Effect.uninterruptible)

        const renewals = makeRenewals(options?.ahead ?? Duration.zero)

        /** Renews a token that is good and about to end, once in a while, and waits for nothing. */
        const renew = (connection: Connection, now: DateTime.Utc) =>
          Effect.suspend(() => {
            if (!renewals.isDue(connection, now)) return Effect.void
            renewals.begin(connection, now)
            return Effect.asVoid(join(connection, renewals.validityOf(connection)))
          })

        const read = (key: ConnectionKey) =>
          Effect.filterOrFail(
            Effect.flatMap(Effect.tapError(connections.get(key), absence.missed), (found) =>
              activeConnection(key, found)),
            ({ grant }) =>
              grant.keeps === undefined,
            () => new TokenError({ code: "token_not_handed_out" })
          )

        /** The stored token if it will do, otherwise what a refresh gives; none when the refresh was asked for less. */
        const attempt = Effect.fnUntraced(function*(
          key: ConnectionKey,
          current: Connection,
          minValidity: Duration.Duration,
          rejected: Digest | undefined,
          first: boolean
        ) {
          let seen = current
          if (!current.rejected) {
            const now = yield* DateTime.now
            const fresh = isFresh(current.credentials, minValidity, now)
            const token = fresh || rejected !== undefined ? yield* open(current) : undefined
            if (token !== undefined) {
              if (rejected !== undefined && entropy.digest(token.accessToken) === rejected) {
                // Said to whoever complains: one path that refuses every token takes none away from the others.
                const braked = brakeOf(current, now)
                if (braked === undefined) {
                  yield* connections.reject(key, current)
                  seen = { ...current, rejected: true }
                } else if (fresh) {
                  return yield* braked
                }
              } else if (fresh) {
                yield* countStored
                return token
              }
            }
          }
          const joined = flights.get(flightOf(current))
          const flight = yield* join(seen, minValidity)
          const token = yield* Deferred.await(flight.token)
          yield* countRefreshed
          // Storing may have taken longer than the token lives. Once: where every refresh does, more of them help nobody.
          if (
            first && token.expiresAt !== undefined && DateTime.isLessThanOrEqualTo(token.expiresAt, yield* DateTime.now)
          ) {
            return undefined
          }
          // Whichever refresh this was: another process may have stored the very token meanwhile, and this one found it fresh.
          if (rejected !== undefined && entropy.digest(token.accessToken) === rejected) return undefined
          // A refresh that was under way may have ended before what this caller read, or been content with less.
          return flight === joined &&
              (token.generation <= current.generation || Duration.isLessThan(flight.minValidity, minValidity))
            ? undefined
            : token
        })

        const refreshed = Effect.fnUntraced(function*(
          key: ConnectionKey,
          first: Connection,
          minValidity: Duration.Duration,
          rejected: Digest | undefined
        ) {
          let current = first
          for (let round = 0;; round++) {
            const token = yield* attempt(key, current, minValidity, rejected, round === 0)
            if (token !== undefined) return token
            current = yield* read(key)
          }
        })

        /** What is stored, if it is not over: a caller that named no validity of its own is better off with it than without. */
        const lastResort = Effect.fnUntraced(function*(key: ConnectionKey, error: AccessTokenError) {
          const { credentials, rejected, ...current } = yield* Effect.mapError(read(key), () => error)
          if (rejected || !isFresh(credentials, Duration.zero, yield* DateTime.now)) return yield* Effect.fail(error)
          const token = yield* open({ ...current, credentials, rejected })
          return token === undefined ? yield* Effect.fail(error) : yield* Effect.as(countStored, token)
        })

        const get = (key: ConnectionKey, demand: TokenDemand = {}) => {
          const minValidity = Duration.fromInputUnsafe(demand.minValidity ?? defaultValidity)
          const rejected = demand.rejected && entropy.digest(demand.rejected)
          const obtain = (current: Connection) =>
            Effect.catch(refreshed(key, current, minValidity, rejected), (error) =>
              demand.minValidity === undefined && rejected === undefined && isElsewhere(error)
                ? lastResort(key, error)
                : Effect.fail(error))
          const token = Effect.flatMap(read(key), (current) =>
            Effect.flatMap(DateTime.now, (now) =>
              rejected === undefined && !current.rejected && isFresh(current.credentials, minValidity, now)
                ? Effect.flatMap(open(current), (token) =>
                  token === undefined
                    ? obtain(current)
                    : Effect.as(Effect.andThen(countStored, renew(current, now)), token))
                : obtain(current)))
          return withPatience(
            Effect.tap(token, (token) =>
              trail.used(key, token)),
            {
              duration: demand.patience ?? deadlines.waiter,
              orElse: () =>
                Effect.fail(new TokenError({ code: "refresh_in_progress", retryAfter: Duration.seconds(1) }))
            }
          )
        }

        const open = (connection: Connection) =>
          openAccessToken(cipher, connection)

        const renewNow = (connection: Connection) =>
          Effect.flatMap(join(connection, Duration.zero, connection), ({ token }) =>
            Deferred.await(token))

        return AccessTokens.of({ get, renew: renewNow, isDue: renewals.isDue })
      })
    )
}

/** Whether it is not the connection that fails but the way to the authorization server. */
const isElsewhere = (error: AccessTokenError): boolean =>
  error.code === "authorization_server_unavailable" || error.code === "client_misconfigured"

const countStored = Metric.update(Instruments.storedReads, 1)
const countRefreshed = Metric.update(Instruments.refreshedReads, 1)

/** What a refresh is joined by: one of a former life of the connection has nothing for its next one. */
const flightOf = ({ epoch, key }: Connection): string => `${key.path} ${epoch}`

/** One refresh under way in this process. */
interface Flight {
  readonly minValidity: Duration.Duration
  readonly token: Deferred.Deferred<AccessToken, AccessTokenError>
}
