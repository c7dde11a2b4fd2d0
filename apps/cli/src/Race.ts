import { Clock, Effect, Fiber, Redacted } from "effect"
import { randomBytes } from "node:crypto"
import { CliFailure, failure } from "./CliFailure.ts"
import { Output } from "./Output.ts"
import { check, type Course, enter, type Entrant, nameOf, removeAll } from "./RaceEntry.ts"
import type { GrantRecord } from "./RaceLedger.ts"
import { document, problemsOf, type RaceReport, type Round, type RoundKind, text } from "./RaceReport.ts"
import * as RaceSimulator from "./RaceSimulator.ts"
import type { Remote } from "./Remote.ts"
import { operations } from "./Wire.ts"

/** What a race is like. */
export interface Settings {
  readonly connections: number
  /** Of each connection, all at once. */
  readonly callers: number
  readonly rounds: number
  readonly stand: RaceSimulator.Stand
}

/**
 * Races callers for the tokens of throw-away connections at servers of one installation, and says what the simulated
 * provider saw of it. The connections are removed however it ends, also when `stop` returns.
 */
export const race = Effect.fnUntraced(function*(
  settings: Settings,
  remotes: ReadonlyArray<Remote>,
  stop: Effect.Effect<void>
) {
  const output = yield* Output
  const run = randomBytes(4).toString("hex")
  const course: Course = { run, remotes, simulator: yield* RaceSimulator.make(settings.stand), entrants: [] }
  yield* output.say(`The connections of this run are called ${nameOf(run, "…")}, and are removed at its end`)
  const racing = yield* Effect.forkChild(reported(settings, course))
  let isStopped = false
  yield* stop.pipe(
    Effect.andThen(Effect.sync(() => void (isStopped = racing.pollUnsafe() === undefined))),
    // At once: what is under way may take a while to end.
    Effect.andThen(output.say("Stopped; the connections are being removed first. A second signal leaves them there")),
    Effect.andThen(Fiber.interrupt(racing)),
    Effect.forkChild({ startImmediately: true })
  )
  const raced = yield* Fiber.await(racing)
  const left = yield* removeAll(course)
  if (left.length > 0) {
    yield* output.say(`Could not be removed: ${left.join(", ")}. Remove each with valetkey disconnect NAME`)
  }
  const report = yield* Effect.catchCause(raced, (cause) => {
    if (isStopped) return Effect.fail(failure("interrupted", "Interrupted", { left }))
    return Effect.mapError(Effect.failCause(cause), (told) => withLeft(told, left))
  })
  const problems = problemsOf(report, left)
  if (problems.length === 0) {
    return yield* output.result(
      { ok: true, ...document(report, left) },
      `${text(report)}\nEvery refresh token was redeemed once, and every caller got a good token`
    )
  }
  yield* output.data(text(report))
  return yield* failure("race_found_problems", problems.join(". "), document(report, left))
}, Effect.scoped)

const withLeft = ({ code, details, sentence, transient }: CliFailure, left: ReadonlyArray<string>): CliFailure =>
  new CliFailure({ code, sentence, details: { ...details, left }, ...(transient === undefined ? {} : { transient }) })

const reported = Effect.fnUntraced(function*(settings: Settings, course: Course) {
  yield* check(course)
  const numbers = Array.from({ length: settings.connections }, (_, index) => index + 1)
  const racing = yield* Effect.forEach(numbers, (number) => enter(course, number), { concurrency: 8 })
  const rounds = yield* raced(settings, course, racing)
  // Those of the check are no part of what the race needs, and are redeemed once as well.
  const all = course.entrants.map(({ grant }) => grant.record)
  return {
    run: course.run,
    servers: course.remotes.length,
    connections: settings.connections,
    callers: settings.callers,
    rounds,
    redemptions: total(racing.map(({ grant }) => grant.record), "asked"),
    needless: total(all, "needless"),
    reused: total(all, "reused"),
    revoked: all.filter(({ revoked }) => revoked).length
  } satisfies RaceReport
})

const total = (records: ReadonlyArray<GrantRecord>, name: "asked" | "needless" | "reused"): number =>
  records.reduce((sum, record) => sum + record[name], 0)

/** Round after round, until nobody gets a token any more. */
const raced = Effect.fnUntraced(function*(settings: Settings, course: Course, racing: ReadonlyArray<Entrant>) {
  const output = yield* Output
  const rounds: Array<Round> = []
  let slowest = 0
  for (let index = 0; index < settings.rounds; index++) {
    const kind = kindOf(index)
    yield* output.status(`Round ${index + 1} of ${settings.rounds}: every token is ${kind}`)
    if (kind === "ended") yield* ended(racing)
    // Long enough that hardly anybody comes so late as to need another one, and not for ever.
    const lifetime = Math.min(20, Math.max(3, Math.ceil(slowest * 4 / 1000)))
    const isShort = index + 1 < settings.rounds && kindOf(index + 1) === "ended"
    course.simulator.lifetimeSeconds = isShort ? lifetime : 3600
    const round = yield* run(settings, course, kind, racing)
    rounds.push(round)
    slowest = Math.max(slowest, round.slowestMillis)
    const failed = Object.values(round.failures).reduce((sum, count) => sum + count, 0)
    if (failed === settings.connections * settings.callers) break
  }
  yield* output.status("")
  return rounds
})

/** In turns: a token that replaced a refused one is not replaced again for the same reason within a minute. */
const kindOf = (index: number): RoundKind => index === 0 ? "missing" : index % 2 === 0 ? "ended" : "refused"

/** Returns when every token has ended. */
const ended = Effect.fnUntraced(function*(racing: ReadonlyArray<Entrant>) {
  const wait = Math.max(...racing.map(({ grant }) => grant.endsAt)) - (yield* Clock.currentTimeMillis)
  // The servers count from the moment they asked, by their own clocks: one may be late by half of a token's life.
  if (wait > 0) yield* Effect.sleep(wait + 100)
})

/** All callers of all connections at once, each at the next server. */
const run = Effect.fnUntraced(function*(
  { callers }: Settings,
  { remotes }: Course,
  kind: RoundKind,
  racing: ReadonlyArray<Entrant>
) {
  const starts = racing.map((entrant, index) => {
    const refused = kind === "refused" ? entrant.token : undefined
    if (kind === "refused") entrant.grant.refuse()
    return { entrant, index, refused, before: entrant.grant.record }
  })
  const calls = remotes.map(() => 0)
  const outcomes = yield* Effect.forEach(starts, ({ before, entrant, index, refused }) =>
    Effect.map(
      Effect.all(
        Array.from({ length: callers }, (_, caller) => {
          const server = (index + caller) % remotes.length
          calls[server]!++
          return ask(remotes[server]!, entrant, refused)
        }),
        { concurrency: "unbounded" }
      ),
      (asked) => {
        const { needless, redeemed } = entrant.grant.record
        return { asked, calledFor: redeemed - before.redeemed - (needless - before.needless) }
      }
    ), { concurrency: "unbounded" })
  const failures: Record<string, number> = {}
  for (const { code } of outcomes.flatMap(({ asked }) => asked)) {
    if (code !== undefined) failures[code] = (failures[code] ?? 0) + 1
  }
  return {
    kind,
    unrefreshed: outcomes.filter(({ asked, calledFor }) =>
      calledFor === 0 && asked.some(({ code }) => code === notGood)
    ).length,
    again: outcomes.reduce((sum, { calledFor }) => sum + Math.max(0, calledFor - 1), 0),
    calls,
    slowestMillis: Math.max(...outcomes.flatMap(({ asked }) => asked.map(({ millis }) => millis))),
    failures
  } satisfies Round
})

/** Of a caller that was given a token which the resource would not take. */
const notGood = "token_not_good"

/** One caller: how long it took, and why there was no good token. */
const ask = Effect.fnUntraced(function*(remote: Remote, entrant: Entrant, refused: Redacted.Redacted | undefined) {
  const started = yield* Clock.currentTimeMillis
  const answer = yield* Effect.result(remote.call(operations.token, {
    server: entrant.server,
    ...(refused === undefined ? {} : { rejectedToken: Redacted.value(refused) })
  }))
  const millis = (yield* Clock.currentTimeMillis) - started
  if (answer._tag === "Failure") return { millis, code: answer.failure.code }
  const { accessToken, generation } = answer.success
  if (generation > entrant.generation) {
    entrant.generation = generation
    entrant.token = Redacted.make(accessToken)
  }
  // Good when it was asked for: a caller that is slow to read its answer is no fault of whoever gave it.
  return { millis, code: entrant.grant.admits(accessToken, started) ? undefined : notGood }
})
