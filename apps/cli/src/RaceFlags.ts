import { Effect, Option } from "effect"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import type { Remote } from "./Remote.ts"
import { isLoopback, reach, remoteOf, remoteTarget, type Target } from "./Target.ts"

/** How many callers a race may have at once over the network: more would measure this machine. */
const mostCallers = 5000

/** The same over the local socket, where some systems refuse who finds the listener's queue full: 128 places. */
const mostLocalCallers = 100

/** One caller races with nobody. */
const fewestCallers = 2

/** The flags of `valetkey doctor --race`. */
export const raceFlags = {
  race: Flag.Boolean("race").pipe(
    Flag.withDescription(
      "Race many callers for the tokens of throw-away connections, at a simulated provider inside this command that revokes whatever is redeemed twice"
    ),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  url: Flag.String("url").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription(
      "With --race: a server to spread the callers over, with VALETKEY_TOKEN; repeated, the replicas of one installation"
    ),
    Flag.atLeast(0)
  ),
  connections: Flag.Int("connections").pipe(
    Flag.withDescription("With --race: how many connections; 5 by default"),
    Flag.optional
  ),
  callers: Flag.Int("callers").pipe(
    Flag.withDescription(
      "With --race: how many callers of each connection at once, 2 or more and no fewer than servers; 20 by default"
    ),
    Flag.optional
  ),
  rounds: Flag.Int("rounds").pipe(
    Flag.withDescription("With --race: how often every token has to be replaced; 4 by default"),
    Flag.optional
  ),
  listen: Flag.String("listen").pipe(
    Flag.withMetavar("HOST:PORT"),
    Flag.withDescription("With --race: where the simulator listens; 127.0.0.1 and a free port by default"),
    Flag.optional
  ),
  publicUrl: Flag.String("public-url").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription("With --race: the URL at which the servers reach the simulator, where they run elsewhere"),
    Flag.optional
  )
} as const

/** The flags as they were given. */
export interface RaceInput {
  readonly race: boolean
  readonly url: ReadonlyArray<string>
  readonly connections: Option.Option<number>
  readonly callers: Option.Option<number>
  readonly rounds: Option.Option<number>
  readonly listen: Option.Option<string>
  readonly publicUrl: Option.Option<string>
}

/** Whether a flag was given that means nothing without `--race`. */
export const isStray = ({ callers, connections, listen, publicUrl, race, rounds, url }: RaceInput): boolean =>
  !race &&
  (url.length > 0 || [callers, connections, listen, publicUrl, rounds].some((flag) => Option.isSome<unknown>(flag)))

/** What a race is to be like. */
export const settingsOf = Effect.fnUntraced(function*(input: RaceInput) {
  const connections = yield* between("connections", input.connections, 5, [1, 100])
  const callers = yield* between("callers", input.callers, 20, [fewestCallers, 1000])
  const rounds = yield* between("rounds", input.rounds, 4, [1, 20])
  const most = input.url.length === 0 ? mostLocalCallers : mostCallers
  if (connections * callers > most) {
    return yield* failure(
      "usage",
      `--connections times --callers must be at most ${mostLocalCallers}, or ${mostCallers} over --url`
    )
  }
  const stand = yield* standOf(input)
  const named = yield* Effect.forEach(input.url, (url) => remoteTarget(url, "--url"))
  const targets = [...new Map(named.map((target) => [target.url, target])).values()]
  if (callers < targets.length) {
    return yield* failure("usage", "--callers must be no fewer than there are --url, so that each server is asked")
  }
  return { connections, callers, rounds, stand, targets }
})

/** The servers of a race: those that were named, else the one of every other command. */
export const remotesOf = (targets: ReadonlyArray<Target>) =>
  targets.length === 0
    ? Effect.map(reach({ start: true }), (remote): ReadonlyArray<Remote> => [remote])
    : Effect.succeed(targets.map(remoteOf))

const between = (
  name: string,
  given: Option.Option<number>,
  usual: number,
  [least, most]: readonly [least: number, most: number]
) => {
  const value = Option.getOrElse(given, () => usual)
  return value >= least && value <= most
    ? Effect.succeed(value)
    : Effect.fail(failure("usage", `--${name} must be a number from ${least} to ${most}`))
}

const standOf = Effect.fnUntraced(function*({ listen, publicUrl }: RaceInput) {
  const [, host = "", port = ""] = /^(\[[0-9a-fA-F:.]+\]|[^\s:/@[\]]+):(\d{1,5})$/.exec(
    Option.getOrElse(listen, () => "127.0.0.1:0")
  ) ?? []
  if (host === "" || Number(port) > 65_535) return yield* failure("usage", "--listen must be HOST:PORT")
  if (Option.isNone(publicUrl)) {
    if (isLoopback(host)) return { host, port: Number(port) }
    return yield* failure(
      "usage",
      "--listen beyond this machine goes with --public-url: the servers must know its name"
    )
  }
  const url = URL.parse(publicUrl.value)
  const isBare = url !== null && url.username === "" && url.password === "" && url.search === "" && url.hash === ""
  if (!isBare || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return yield* failure("usage", "--public-url must be an http or https URL without credentials and query")
  }
  if (Number(port) === 0) {
    return yield* failure("usage", "--public-url goes with --listen and a port: what it names must lead there")
  }
  return { host, port: Number(port), publicUrl: url.href }
})
