import { Effect, Option } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain, table } from "./Output.ts"
import { reach } from "./Target.ts"
import { type AuditEvent, operations } from "./Wire.ts"

const ListEvents = Command.make("list", {
  after: Flag.Int("after").pipe(Flag.withDescription("Begin after this place in the chain"), Flag.withDefault(0)),
  limit: Flag.Int("limit").pipe(Flag.withDescription("How many events, 1 to 100"), Flag.withDefault(50))
}, (page) =>
  Effect.gen(function*() {
    if (page.after < 0 || page.limit < 1 || page.limit > 100) {
      return yield* failure("usage", "--after must not be negative and --limit must be 1 to 100")
    }
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const { events, next } = yield* remote.call(operations.audit, page)
    yield* output.result(
      { ok: true, events, ...(next === undefined ? {} : { next }) },
      events.length === 0 ? "" : table([
        ["SEQ", "AT", "ACTION", "OUTCOME", "SERVER", "TARGET", "SUBJECT", "BY", "FROM", "SECRET", "COUNT"],
        ...events.map(rowOf)
      ])
    )
    if (next !== undefined) yield* output.say(`There is more: valetkey audit list --after ${next}`)
  })).pipe(
    Command.withDescription("Show audit events, oldest first"),
    Command.withExamples([{
      command: "valetkey audit list --after 100 --limit 20",
      description: "Twenty events from place 101 on"
    }])
  )

const VerifyChain = Command.make("verify", {
  expect: Flag.String("expect").pipe(
    Flag.withMetavar("SEQ:HASH"),
    Flag.withDescription("End that an earlier verification printed; it must still be in the chain"),
    Flag.optional
  )
}, ({ expect }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const { anchor, events, fault, head, intact } = yield* remote.call(
      operations.verifyAudit,
      Option.getOrUndefined(expect)
    )
    const end = `${head.seq}:${head.hash}`
    if (!intact) {
      return yield* failure(
        "audit_chain_broken",
        `The audit chain is broken at event ${fault?.seq ?? head.seq} (${
          fault?.kind ?? "unknown"
        }): somebody changed the stored record; compare it with a backup`,
        { events, head, anchor, ...(fault === undefined ? {} : { fault }) }
      )
    }
    yield* output.result({ ok: true, intact, events, head, anchor }, end)
    yield* output.say(
      `${events} events verified${anchor.seq === 0 ? "" : `, after ${anchor.seq} that retention removed`}. ` +
        `Keep the line above elsewhere and pass it as --expect next time`
    )
  })).pipe(
    Command.withDescription("Hash the audit chain anew; exit 1 if it was tampered with"),
    Command.withExamples([{ command: "valetkey audit verify", description: "Whether somebody changed the record" }])
  )

/** `valetkey audit`: the record of what was done. */
export const Audit = Command.make("audit").pipe(
  Command.withDescription("Read and verify the record of what was done"),
  Command.withSubcommands([ListEvents, VerifyChain])
)

const rowOf = (event: AuditEvent): ReadonlyArray<string> => [
  String(event.seq),
  event.at,
  event.action,
  plain(event.outcome),
  event.server ?? "-",
  plain(event.target ?? "-"),
  plain(event.subject),
  event.principal,
  event.from,
  event.fingerprint ?? "-",
  String(event.count ?? 1)
]
