import type { ApiScope } from "@valetkey/api/Principal"
import { Clock, Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain, table } from "./Output.ts"
import { everyPage } from "./Remote.ts"
import { reach } from "./Target.ts"
import { type ApiKey, operations } from "./Wire.ts"
import { formatDuration, formatScopes } from "./Words.ts"

const apiScopes = [
  "flows:write",
  "connections:read",
  "connections:write",
  "connections:export",
  "tokens:read",
  "proxy",
  "admin",
  "operator"
] as const satisfies ReadonlyArray<ApiScope>

const CreateKey = Command.make("create", {
  name: Argument.String("name").pipe(Argument.withDescription("What to call the key, such as the program's name")),
  scope: Flag.String("scope").pipe(
    Flag.withDescription(`What it may do; may be repeated: ${apiScopes.join(", ")}`),
    Flag.atLeast(1)
  ),
  subject: Flag.String("subject").pipe(
    Flag.withDescription("On whose behalf it acts; default the caller"),
    Flag.optional
  ),
  expiresIn: Flag.String("expires-in").pipe(
    Flag.withDescription("How long it lives, such as 12h or 30d; default 90d, at most 3650d"),
    Flag.optional
  )
}, (input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const payload = yield* payloadOf(input)
    const remote = yield* reach({ start: true })
    const created = yield* remote.call(operations.createApiKey, payload)
    // The credential is data: it goes where a pipe takes it, and the talk about it does not.
    yield* output.result({ ok: true, ...created }, created.credential)
    yield* output.say(
      `Made ${plain(created.apiKey.id)}, which ends ${
        plain(created.apiKey.expiresAt)
      }. Its credential is shown once: keep it now.`
    )
  })).pipe(
    Command.withDescription("Make an API key and print its credential, once"),
    Command.withExamples([{
      command: "valetkey api-keys create job --scope tokens:read --expires-in 30d",
      description: "A key that can only ask for tokens"
    }])
  )

const ListKeys = Command.make("list", {}, () =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const apiKeys = yield* everyPage((after) => remote.call(operations.apiKeys, after), (page) => page.apiKeys)
    const now = yield* Clock.currentTimeMillis
    yield* output.result(
      { ok: true, apiKeys },
      apiKeys.length === 0 ? "" : table([
        ["ID", "NAME", "SUBJECT", "SCOPES", "STATE", "LAST USED"],
        ...apiKeys.map((key) => [
          plain(key.id),
          plain(key.name),
          plain(key.subject),
          formatScopes(key.scopes),
          formatState(key, now),
          key.lastUsedAt === undefined ? "never" : `${formatDuration(now - Date.parse(key.lastUsedAt))} ago`
        ])
      ])
    )
    if (apiKeys.length === 0) {
      yield* output.say("There are no API keys. Make one with: valetkey api-keys create NAME --scope tokens:read")
    }
  })).pipe(
    Command.withDescription("List the API keys, ended ones included"),
    Command.withExamples([{ command: "valetkey api-keys list", description: "Names, scopes and ends; no credentials" }])
  )

const RevokeKey = Command.make(
  "revoke",
  { id: Argument.String("id").pipe(Argument.withDescription("Id of the key, as `valetkey api-keys list` shows it")) },
  ({ id }) =>
    Effect.gen(function*() {
      const output = yield* Output
      const remote = yield* reach({ start: true })
      yield* remote.call(operations.revokeApiKey, id)
      yield* output.result({ ok: true, id, revoked: true }, `Revoked ${plain(id)}`)
    })
).pipe(
  Command.withDescription("Revoke an API key; it is refused within a second"),
  Command.withExamples([{ command: "valetkey api-keys revoke ID", description: "The id as the list shows it" }])
)

/** `valetkey api-keys`: credentials for programs. */
export const ApiKeys = Command.make("api-keys").pipe(
  Command.withDescription("Manage the credentials of programs"),
  Command.withSubcommands([CreateKey, ListKeys, RevokeKey])
)

interface Wanted {
  readonly name: string
  readonly scope: ReadonlyArray<string>
  readonly subject: Option.Option<string>
  readonly expiresIn: Option.Option<string>
}

const payloadOf = Effect.fnUntraced(function*({ expiresIn, name, scope, subject }: Wanted) {
  const known: ReadonlyArray<string> = apiScopes
  if (scope.some((one) => !known.includes(one))) {
    return yield* failure("usage", `--scope must be one of ${apiScopes.join(", ")}`)
  }
  const scopes = apiScopes.filter((one) => scope.includes(one))
  const seconds = Option.map(expiresIn, parseSeconds)
  if (Option.isSome(seconds) && seconds.value === undefined) {
    return yield* failure("usage", "--expires-in must look like 3600s, 90m, 12h or 30d, and be at most 3650d")
  }
  const [first, ...rest] = scopes
  return {
    name,
    scopes: [first!, ...rest] as const,
    ...(Option.isNone(subject) ? {} : { subject: subject.value }),
    ...(Option.isNone(seconds) ? {} : { expiresInSeconds: seconds.value! })
  }
})

const parseSeconds = (text: string): number | undefined => {
  const found = /^(\d{1,9})(s|m|h|d)?$/.exec(text.trim())
  if (found === null) return undefined
  const seconds = Number(found[1]) * ({ s: 1, m: 60, h: 3600, d: 86_400 }[found[2] ?? "s"] ?? 1)
  return seconds >= 1 && seconds <= 3650 * 86_400 ? seconds : undefined
}

const formatState = ({ expiresAt, revokedAt }: ApiKey, now: number): string => {
  if (revokedAt !== undefined) return "revoked"
  const left = Date.parse(expiresAt) - now
  return left <= 0 ? "expired" : `ends in ${formatDuration(left)}`
}
