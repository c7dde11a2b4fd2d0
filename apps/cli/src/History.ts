import { Clock, Effect, Option } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain, table } from "./Output.ts"
import { reach } from "./Target.ts"
import { type History as Page, operations } from "./Wire.ts"
import { formatDuration, Name } from "./Words.ts"

/** `valetkey history`: what became of a connection, and so why a person has to sign in again. */
export const History = Command.make("history", {
  name: Name,
  limit: Flag.Int("limit").pipe(Flag.withDescription("How many events, 1 to 100"), Flag.withDefault(20)),
  before: Flag.String("before").pipe(
    Flag.withMetavar("EVENT"),
    Flag.withDescription("Show what was before this event"),
    Flag.optional
  )
}, ({ before, limit, name }) =>
  Effect.gen(function*() {
    const place = Option.getOrUndefined(before)
    if (limit < 1 || limit > 100) {
      return yield* failure("usage", "--limit must be 1 to 100")
    }
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const page = yield* remote.call(operations.history, { server: name, limit, before: place })
    const { events, lastUsedAt, next } = page
    yield* output.result(
      { ok: true, server: name, ...page },
      events.length === 0 ? "" : table([
        ["AT", "EVENT", "OUTCOME", "PROVIDER", "GENERATION", "SECRET", "BY", "FROM"],
        ...events.map(rowOf)
      ])
    )
    if (events.length === 0) yield* output.say(`Nothing is on record of ${name}`)
    if (place === undefined) {
      const now = yield* Clock.currentTimeMillis
      const ago = lastUsedAt === undefined ? undefined : formatDuration(now - Date.parse(lastUsedAt))
      yield* output.say(
        ago === undefined ? "No use of its tokens is on record" : `Last used ${ago} ago, give or take a minute`
      )
    }
    if (next !== undefined) yield* output.say(`There is more: valetkey history ${name} --before=${next}`)
  })).pipe(
    Command.withDescription("Show what became of a connection, the latest first: why you must sign in again"),
    Command.withExamples([{
      command: "valetkey history notes",
      description: "Consents, refreshes, refusals and what the provider said, without a secret"
    }])
  )

const rowOf = (event: Page["events"][number]): ReadonlyArray<string> => [
  event.at,
  event.action,
  plain(event.outcome),
  plain(event.answer ?? "-"),
  event.generation === undefined ? "-" : String(event.generation),
  event.fingerprint ?? "-",
  event.principal,
  event.from
]
