import * as Promises from "@valetkey/client/Promises"
import * as Fingerprint from "@valetkey/testing/Fingerprint"
import * as McpClient from "@valetkey/testing/McpClient"
import { Duration, Effect, Redacted, Schedule } from "effect"
import { existsSync } from "node:fs"
import { isActive } from "../proofs/Introspection.ts"
import type { Finished } from "./Command.ts"
import * as Person from "./Person.ts"
import type { Stage } from "./Stage.ts"
import { NotAsTold, type Telling, told } from "./Telling.ts"

/** The name that the person gives to the MCP server. */
export const name = "notes"

/** How many programs ask at the same moment. */
const programs = 20

/** Tells one connection from consent to revocation. */
export const tell = Effect.fnUntraced(function*(stage: Stage, { step }: Telling) {
  const { person, provider, resource } = stage

  yield* step(
    "The authorization server and the MCP server behind it run",
    Effect.gen(function*() {
      const status = yield* Effect.map(Effect.flip(McpClient.whoami(resource.url, { token: "none" })), (e) => e.status)
      yield* told(status === 401, `The MCP server answered ${status} to a call without a token`)
      return [undefined, {
        saw: `${provider.issuer} issues tokens; ${resource.url} answers 401 without one (${ms(stage.millis.peers)})`
      }]
    })
  )

  yield* step(
    "Valetkey runs on its embedded store",
    Effect.gen(function*() {
      yield* told(existsSync(stage.home.database), `There is no ${stage.home.database}`)
      return [undefined, {
        ran: "valetkey serve",
        saw: `process ${stage.serving.pid}, ready after ${ms(stage.millis.serving)}, SQLite in ${stage.home.database}`
      }]
    })
  )

  yield* step(
    "The person connects, once",
    Effect.gen(function*() {
      const [finished, page] = yield* Person.during(person, stage.valetkey("connect", resource.url, "--name", name))
      yield* succeeded(finished)
      return [undefined, { ran: line(finished), saw: `the browser ended at "${page}"; ${finished.stdout.trim()}` }]
    })
  )

  const { token: first } = yield* step("A program calls an MCP tool with the token", callWithToken(stage))

  yield* step(
    "The access token expires",
    Effect.gen(function*() {
      yield* expired(stage, first)
      const status = yield* Effect.map(Effect.flip(McpClient.whoami(resource.url, { token: first })), (e) => e.status)
      yield* told(status === 401, `The MCP server answered ${status} to an expired token`)
      return [undefined, {
        saw: `the provider calls ${print(first)} inactive, and the MCP server answers 401 to it`
      }]
    })
  )

  const { redeemed, token: second } = yield* step("The next call gets a silently refreshed token", callWithToken(stage))
  yield* step(
    "The provider saw one redemption",
    Effect.gen(function*() {
      yield* told(print(second) !== print(first), `${print(first)} was handed out again`)
      yield* told(redeemed === 1, `The provider saw ${redeemed} refreshes`)
      return [undefined, {
        saw: `${print(first)} became ${print(second)} with 1 refresh at the provider, nobody asked`
      }]
    })
  )

  yield* step(
    `${programs} programs ask at the same moment after the next expiry`,
    Effect.gen(function*() {
      yield* expired(stage, second)
      const before = refreshes(stage)
      const tokens = yield* askAtOnce(stage)
      const distinct = new Set(tokens)
      yield* told(distinct.size === 1, `${tokens.length} programs got ${distinct.size} tokens`)
      yield* told(!distinct.has(print(second)), "They got the expired token")
      const count = refreshes(stage) - before
      yield* told(count === 1, `The provider saw ${count} refreshes`)
      return [undefined, {
        ran: `POST /v1/connections/${name}/token, ${programs} times`,
        saw: `${tokens.length} answers, all of them ${tokens[0]}, with 1 refresh at the provider`
      }]
    })
  )

  yield* step(
    "The provider saw no refresh token twice",
    Effect.gen(function*() {
      const most = Math.max(...provider.refreshes.values())
      yield* told(most === 1 && provider.reuseDetected() === 0, `A refresh token came ${most} times`)
      return [undefined, {
        saw: `${provider.refreshes.size} refresh tokens redeemed once each, no family revoked for reuse`
      }]
    })
  )

  yield* step(
    "The person disconnects",
    Effect.gen(function*() {
      const last = stage.refreshTokens.at(-1) ?? Redacted.make("")
      yield* told(yield* isActive(provider, last), "The newest refresh token was not active before")
      const finished = yield* stage.valetkey("disconnect", name)
      yield* succeeded(finished)
      return [undefined, { ran: line(finished), saw: finished.stdout.trim() || finished.stderr.trim() || "done" }]
    })
  )

  yield* step(
    "The provider confirms the revocation",
    Effect.gen(function*() {
      const last = stage.refreshTokens.at(-1) ?? Redacted.make("")
      yield* until(Effect.map(isActive(provider, last), (active) => !active), "The refresh token stays active")
      yield* told(provider.revocations() > 0, "The provider took no revocation")
      return [undefined, {
        saw: `it took a revocation, and calls refresh token ${print(last)} inactive`
      }]
    })
  )

  yield* step(
    "Nobody gets a token any more",
    Effect.gen(function*() {
      const finished = yield* stage.valetkey("token", name)
      yield* told(finished.code === 1, `exit ${finished.code}: ${finished.stderr.trim()}`, line(finished))
      yield* told(finished.stdout === "", "The command printed something", line(finished))
      return [undefined, { ran: line(finished), saw: `exit ${finished.code}: ${finished.stderr.trim()}` }]
    })
  )
})

/** Ends the story: the server leaves when it is told to. */
export const end = (stage: Stage, { step }: Telling) =>
  step(
    "Valetkey stops in order",
    Effect.gen(function*() {
      const code = yield* stage.serving.stop
      yield* told(code === 0 || code === 130, `The server ended with ${code}`)
      yield* told(!existsSync(stage.home.socket), "Its socket is still there")
      return [undefined, { ran: `kill -TERM ${stage.serving.pid}`, saw: "the process ended and took its socket along" }]
    })
  )

/** A program: asks for the token and calls the tool with it, and asks again when the token ended on the way. */
const callWithToken = (stage: Stage) =>
  Effect.gen(function*() {
    for (let attempt = 1;; attempt++) {
      const before = refreshes(stage)
      const finished = yield* stage.valetkey("token", name)
      yield* succeeded(finished)
      const redeemed = refreshes(stage) - before
      const token = Redacted.make(finished.stdout.trim())
      const answer = yield* Effect.result(McpClient.whoami(stage.resource.url, { token }))
      if (answer._tag === "Failure" && answer.failure.status === 401 && attempt < 5) continue
      const who = yield* Effect.fromResult(answer)
      yield* told(who.sub === "alice", `The tool answered for ${who.sub}`, line(finished))
      return [{ token, redeemed }, {
        ran: line(finished),
        saw: `token ${print(token)} in ${ms(finished.millis)}; the tool "whoami" answers: ${who.sub}, ${
          who.scopes.join(" ")
        }`
      }] as const
    }
  })

const askAtOnce = (stage: Stage) =>
  Effect.promise(async () => {
    const client = Promises.connect({ socket: stage.home.socket, tokenFile: stage.home.token })
    const tokens = await Promise.all(Array.from({ length: programs }, () => client.token(name)))
    await client.close()
    return tokens.map(({ accessToken }) => Fingerprint.of(accessToken))
  })

const expired = (stage: Stage, token: Redacted.Redacted) =>
  until(Effect.map(isActive(stage.provider, token), (active) => !active), "The access token stays active")

/** Asks until it holds; the provider's clock runs in seconds. */
const until = (condition: Effect.Effect<boolean>, otherwise: string): Effect.Effect<void, NotAsTold> =>
  condition.pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("50 millis") }),
    Effect.timeoutOrElse({
      duration: Duration.seconds(15),
      orElse: () => Effect.fail(new NotAsTold({ saw: otherwise }))
    })
  )

const refreshes = ({ provider }: Stage): number =>
  provider.log.filter((entry) => entry.grantType === "refresh_token").length

const succeeded = (finished: Finished): Effect.Effect<void, NotAsTold> =>
  told(finished.code === 0, `exit ${finished.code}: ${finished.stderr.trim()}`, line(finished))

const line = ({ args }: Finished): string => `valetkey ${args.join(" ")}`

const print = (token: Redacted.Redacted): string => Fingerprint.of(Redacted.value(token))

const ms = (millis: number): string => `${Math.round(millis)} ms`
