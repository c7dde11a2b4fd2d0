import { Effect, Redacted } from "effect"
import { CliFailure, failure, reworded } from "./CliFailure.ts"
import { isUncertain } from "./Importing.ts"
import type { RaceGrant } from "./RaceLedger.ts"
import { clientId, type RaceSimulator } from "./RaceSimulator.ts"
import type { Remote } from "./Remote.ts"
import { operations } from "./Wire.ts"

/** A throw-away connection. */
export interface Entrant {
  readonly server: string
  readonly grant: RaceGrant
  generation: number
  /** The token that a caller got last. */
  token: Redacted.Redacted | undefined
  /** Whether its deposit was given up, and may arrive after all. */
  isAwaited: boolean
}

/** Where a race takes place. */
export interface Course {
  /** The name of the run, which its connections begin with. */
  readonly run: string
  /** Servers of one installation. */
  readonly remotes: ReadonlyArray<Remote>
  readonly simulator: RaceSimulator
  /** Every connection that may be there, until it is removed. */
  readonly entrants: Array<Entrant>
}

/** The name of a connection of a run. */
export const nameOf = (run: string, index: number | string): string => `doctor-race-${run}-${index}`

/** How long a server may take to take a connection in. */
const patience = "10 seconds"

/** How long it may take to remove one. */
const removalPatience = "10 seconds"

/** Connects a grant of the simulator as a user who brings credentials does. An interrupt waits for it, so that nothing is left. */
export const enter = ({ entrants, remotes, run, simulator }: Course, index: number | string) =>
  Effect.suspend((): Effect.Effect<Entrant, CliFailure> => {
    const entrant: Entrant = {
      server: nameOf(run, index),
      grant: simulator.open(),
      generation: 0,
      token: undefined,
      isAwaited: false
    }
    entrants.push(entrant)
    const at = typeof index === "number" ? index % remotes.length : 0
    return remotes[at]!.call(operations.deposit, {
      server: entrant.server,
      deposit: Redacted.make({
        tokenEndpoint: simulator.tokenEndpoint,
        refreshToken: Redacted.value(entrant.grant.refreshToken),
        clientId,
        // What is promised then holds whatever happens on the way: no refresh token is sent twice.
        redemptionPolicy: "strict" as const
      })
    }).pipe(
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () =>
          Effect.suspend(() => {
            entrant.isAwaited = true
            return Effect.fail(silent(at + 1))
          })
      }),
      Effect.tapError((told) =>
        Effect.sync(() => isUncertain(told) ? undefined : entrants.splice(entrants.indexOf(entrant), 1))
      ),
      Effect.map(({ connection }) => {
        entrant.generation = connection.generation
        return entrant
      })
    )
  }).pipe(Effect.uninterruptible)

/** Has each server refresh a connection of its own: it is a server of this installation and reaches the simulator. */
export const check = Effect.fnUntraced(function*(course: Course) {
  for (const [index, remote] of course.remotes.entries()) {
    const entrant = yield* enter(course, `check-${index + 1}`)
    yield* remote.call(operations.token, { server: entrant.server }).pipe(
      Effect.tap(({ generation }) => Effect.sync(() => void (entrant.generation = generation))),
      Effect.catch((told) => {
        if (told.code === "connection_not_found") return Effect.fail(reworded(told, stranger(index + 1)))
        // What comes of a request that arrived is for the race to show.
        if (!unanswered.has(told.code)) return Effect.fail(told)
        return entrant.grant.record.asked > 0
          ? Effect.void
          : Effect.fail(unreachable(index + 1, course.simulator.tokenEndpoint))
      })
    )
  }
})

/** What a server says that did not reach the simulator, or was refused there. */
const unanswered = new Set([
  "authorization_server_unavailable",
  "client_misconfigured",
  "reauthorization_required",
  "refresh_in_progress"
])

const silent = (server: number): CliFailure =>
  new CliFailure({
    code: "server_unreachable",
    sentence: `Server ${server} did not answer within ${patience} when a connection was made; see its log`,
    transient: true
  })

const stranger = (server: number): string =>
  `Server ${server} does not know a connection that was made at server 1: give --url the replicas of one installation`

const unreachable = (server: number, tokenEndpoint: string): CliFailure => {
  const { host, port, protocol } = new URL(tokenEndpoint)
  const endpoint = port === "" ? `${host}:${protocol === "https:" ? 443 : 80}` : host
  return failure(
    "simulator_unreachable",
    `Server ${server} cannot reach the simulator, now at ${endpoint}. Where servers share a database, fix the port with ` +
      "--listen 127.0.0.1:PORT and add that to their VALETKEY_ALLOW_EGRESS; where they run on other machines, run this " +
      "command beside them or give --public-url"
  )
}

/** Removes every connection of the race, whatever is going on with it; the names of those that may be there still. */
export const removeAll = ({ entrants, remotes }: Course): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const answering = new Set(remotes)
    return Effect.forEach(
      entrants,
      (entrant) => Effect.map(remove(answering, entrant), (isGone) => isGone ? [] : [entrant.server]),
      { concurrency: 8 }
    )
  }).pipe(Effect.map((left) => left.flat()))

/** Deletes the connection at the first server that can; whether it is gone. A server that does not answer is not asked again. */
const remove = Effect.fnUntraced(function*(answering: Set<Remote>, { generation, isAwaited, server }: Entrant) {
  for (const remote of answering) {
    const isGone = yield* remote.call(operations.forget, { server, generation }).pipe(
      Effect.as(true),
      // Of another generation, or in the middle of a refresh: then it is refused at once and deleted in a moment.
      Effect.catch(({ code }) =>
        code === "connection_not_found"
          ? Effect.succeed(!isAwaited)
          : Effect.as(remote.call(operations.disconnect, server), true)
      ),
      Effect.timeoutOrElse({
        duration: removalPatience,
        orElse: () =>
          Effect.sync(() => {
            answering.delete(remote)
            return false
          })
      }),
      Effect.orElseSucceed(() => false)
    )
    if (isGone) return true
  }
  return false
})
