import {
  Cause,
  Clock,
  Context,
  DateTime,
  Duration,
  Effect,
  Exit,
  Layer,
  Metric,
  Option,
  Random,
  Schedule
} from "effect"
import { type AccessTokenError, TokenError } from "./AccessToken.ts"
import { AccessTokens } from "./AccessTokens.ts"
import { AuditLog } from "./AuditLog.ts"
import type { AuditTrail } from "./AuditTrail.ts"
import { ConnectionKey } from "./Connection.ts"
import type { Ending } from "./Forecast.ts"
import * as Instruments from "./Instruments.ts"
import { makeAuditing } from "./internal/auditing.ts"
import * as Renewal from "./Renewal.ts"
import { type DueConnection, RenewalPlans } from "./RenewalPlans.ts"
import type { ServerSlug } from "./Server.ts"
import { Servers } from "./Servers.ts"
import type { StoreError } from "./StoreError.ts"

/** How many connections are taken at once, and how many of them are renewed at the same time. */
const batch = 32
const atOnce = 16
/** Longer than a batch takes: its spreading, and two renewals after each other with all of their patience. */
const lease = Duration.minutes(4)
/** How long a round is drawn out after the machine slept. */
const spreading = Duration.minutes(1)

/** What a round did. */
export interface RenewalRound {
  readonly taken: number
  readonly renewed: number
}

/**
 * Use case: renewing credentials before anybody asks. It may run on all replicas at once: each connection is looked at by
 * one of them, and renewed in the same way as by a caller: one flight, one lease, paced and fenced.
 */
export class Renewer extends Context.Service<Renewer, {
  /**
   * Looks at connections that are due, renews those that have to be, begun evenly over the given time, and plans the
   * others. What cannot be renewed is tried again later and rarer.
   */
  round(over: Duration.Duration): Effect.Effect<RenewalRound, StoreError>
  /** How long until a connection is due; none when nothing is planned. */
  readonly nextDue: Effect.Effect<Option.Option<Duration.Duration>, StoreError>
}>()("@valetkey/domain/Renewer") {
  /** Layer of the use case; nothing runs by itself. */
  static readonly layer = (options?: {
    /** How long before its end an access token is renewed. Default never. */
    readonly ahead?: Duration.Duration | undefined
    /** How long after its last use a connection is still renewed ahead. Default `Renewal.usedWithin`. */
    readonly usedWithin?: Duration.Duration | undefined
  }): Layer.Layer<Renewer, never, AccessTokens | AuditLog | AuditTrail | RenewalPlans | Servers> =>
    Layer.effect(
      Renewer,
      Effect.gen(function*() {
        const tokens = yield* AccessTokens
        const log = yield* AuditLog
        const plans = yield* RenewalPlans
        const servers = yield* Servers
        const audit = yield* makeAuditing
        const ahead = options?.ahead ?? Duration.zero
        const usedWithin = options?.usedWithin ?? Renewal.usedWithin

        /** The last uses of the connections for which that matters, one question for each of their owners. */
        const lastUsesOf = Effect.fnUntraced(function*(keys: ReadonlyArray<ConnectionKey>) {
          const uses = new Map<string, DateTime.Utc>()
          const owners = Map.groupBy(keys, ({ subject, tenant }) => JSON.stringify([tenant, subject]))
          yield* Effect.forEach(owners.values(), (ofOwner) => {
            const { subject, tenant } = ofOwner[0]!
            const found = log.lastUses({ tenant, subject, servers: ofOwner.map(({ server }) => server) })
            return Effect.map(found, (uncounted: ReadonlyMap<ServerSlug, DateTime.Utc>) => {
              for (const [server, at] of uncounted) {
                uses.set(new ConnectionKey({ tenant, subject, server }).path, at)
              }
            })
          }, { concurrency: 4 })
          return uses
        })

        const look = Effect.fnUntraced(function*(due: ReadonlyArray<DueConnection>) {
          const described = yield* Effect.forEach(due, (one) => {
            const { server, tenant } = one.connection.key
            return Effect.map(servers.rulesOf(tenant, server), ({ refresh }) => ({ ...one, terms: refresh }))
          })
          const uses = yield* lastUsesOf(described.filter(Renewal.dependsOnUse).map(({ connection }) => connection.key))
          const now = yield* DateTime.now
          return described.map((one) => {
            const lastUse = uses.get(one.connection.key.path)
            return { ...one, verdict: Renewal.decide({ ...one, lastUse, ahead, usedWithin, now }) }
          })
        })

        const tell = ({ connection: { generation, key } }: DueConnection, { cause }: Ending) =>
          audit(key, "connection.ending", cause, generation)

        /** Renews one. What it plans when that failed is only of use while the credentials are the same. */
        const renew = Effect.fnUntraced(function*(one: Looked, index: number, count: number, over: Duration.Duration) {
          const { connection, verdict } = one
          if (index > 0 && !Duration.isZero(over)) yield* Effect.sleep(Duration.times(over, index / count))
          const exit = yield* Effect.exit(tokens.renew(connection))
          yield* Metric.update(Instruments.renewed(verdict.renew!, Exit.isSuccess(exit) ? "ok" : "failed"), 1)
          if (Exit.isSuccess(exit)) return true
          if (Cause.hasDies(exit.cause)) yield* Effect.logError("a connection cannot be renewed", exit.cause)
          if (verdict.tell !== undefined) yield* tell(one, verdict.tell)
          const after = Renewal.retryAfter({
            dueAt: verdict.dueAt,
            now: yield* DateTime.now,
            asked: askedOf(exit.cause),
            chance: yield* Random.next
          })
          yield* plans.plan([planOf(one, after, verdict.tell)])
          return false
        }, Effect.catch((error: StoreError) => Effect.as(Effect.logWarning("renewal not planned", error), false)))

        return Renewer.of({
          nextDue: plans.nextDue,
          round: Effect.fnUntraced(function*(over) {
            const looked = yield* look(yield* plans.take({ limit: batch, lease }))
            const due = looked.filter(({ verdict }) => verdict.renew !== undefined)
            const others = looked.filter(({ verdict }) => verdict.renew === undefined)
            // Told first: what is planned as told and was not would be told never.
            yield* Effect.forEach(others, (one) =>
              one.verdict.tell === undefined ? Effect.void : tell(one, one.verdict.tell))
            yield* plans.plan(others.map((one) =>
              planOf(one, one.verdict.after, one.verdict.tell)
            ))
            const renewed = yield* Effect.forEach(due, (one, index) => renew(one, index, due.length, over), {
              // Those that wait for their time need no place.
              concurrency: Duration.isZero(over) ? atOnce : "unbounded"
            })
            return { taken: looked.length, renewed: renewed.filter((isRenewed) => isRenewed).length }
          })
        })
      })
    )

  /**
   * Layer that looks until the scope ends: when the next connection is due, and at the latest after `every`. Written
   * credentials are due a minute later at the earliest, so nothing is missed. When the machine slept, or its clock was put
   * forward, everything is due at once: then it waits for the network and for those who ask, and draws out its rounds.
   */
  static readonly layerSchedule = (
    options?: { readonly every?: Duration.Input }
  ): Layer.Layer<never, never, Renewer> =>
    Layer.effectDiscard(Effect.gen(function*() {
      const renewer = yield* Renewer
      const every = Duration.fromInputUnsafe(options?.every ?? "1 minute")
      let spreadUntil = 0

      const round = Effect.gen(function*() {
        const wait = Option.getOrElse(yield* renewer.nextDue, () => every)
        if (!Duration.isZero(wait)) return Duration.min(Duration.max(wait, collecting), every)
        const isSpread = (yield* Clock.currentTimeMillis) < spreadUntil
        const { taken } = yield* renewer.round(isSpread ? spreading : Duration.zero)
        // What is due and not to be had is another replica's.
        return taken === 0 ? every : taken < batch ? collecting : shortestPause
      })

      /** Sleeps, and notices when it took much longer than that. */
      const sleep = Effect.fnUntraced(function*(wait: Duration.Duration) {
        const before = yield* Clock.currentTimeMillis
        yield* Effect.sleep(wait)
        const now = yield* Clock.currentTimeMillis
        if (now - before - Duration.toMillis(wait) < Duration.toMillis(every)) return
        spreadUntil = now + Duration.toMillis(spreadFor)
        yield* Effect.sleep(yield* Random.nextBetween(10_000, 30_000))
      })

      yield* round.pipe(
        Effect.catchCause((cause) => Effect.as(Effect.logWarning("connections not renewed", cause), every)),
        Effect.flatMap(sleep),
        Effect.repeat(Schedule.forever),
        Effect.forkScoped
      )
    }))
}

interface Looked extends DueConnection {
  readonly verdict: Renewal.Verdict
}

/** What is due within seconds of each other is one round: nothing is in such a hurry. */
const collecting = Duration.seconds(5)
/** Between a round that took as much as it may and the next one. */
const shortestPause = Duration.millis(100)
/** For how long after a sleep of the machine rounds are drawn out. */
const spreadFor = Duration.minutes(15)

const planOf = (
  { connection: { epoch, generation, key } }: DueConnection,
  after: Duration.Duration | undefined,
  told: Ending | undefined
) => ({ key, epoch, generation, after, told: told?.at })

const askedOf = (cause: Cause.Cause<AccessTokenError>): Duration.Duration => {
  const error = Cause.squash(cause)
  return error instanceof TokenError ? error.retryAfter ?? Duration.zero : Duration.zero
}
