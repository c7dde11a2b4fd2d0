import { Effect, Option, Redacted } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain, table } from "./Output.ts"
import * as OutputFile from "./OutputFile.ts"
import type { Remote } from "./Remote.ts"
import { checkPassphrase, readPassphrase } from "./SecretInput.ts"
import { reach } from "./Target.ts"
import { type ExportRequest, operations } from "./Wire.ts"
import { Name } from "./Words.ts"

/** `valetkey export`: connections in an archive that only its recipient opens. */
export const Export = Command.make("export", {
  names: Name.pipe(Argument.variadic({ min: 0 })),
  out: Flag.String("out").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("The file to write, of mode 0600")
  ),
  recipient: Flag.String("recipient").pipe(
    Flag.withMetavar("age1..."),
    Flag.withDescription("Age recipient who may open the archive, as age-keygen prints it"),
    Flag.optional
  ),
  passphraseFile: Flag.String("passphrase-file").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("File with the passphrase that will open the archive"),
    Flag.optional
  ),
  passphraseStdin: Flag.Boolean("passphrase-stdin").pipe(
    Flag.withDescription("Read the passphrase from stdin"),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  force: Flag.Boolean("force").pipe(
    Flag.withDescription("Overwrite the file"),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  move: Flag.Boolean("move").pipe(
    Flag.withDescription("Forget here what the archive holds, without revoking it at the provider"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, (input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const { force, move, names, out } = input
    const opener = yield* openerOf(input)
    yield* OutputFile.check(out, force)
    const remote = yield* reach({ start: true })
    const { archive, connections, left } = yield* remote.call(
      operations.exportConnections,
      Redacted.make({ ...Redacted.value(opener), ...(names.length === 0 ? {} : { servers: asNonEmpty(names) }) })
    )
    const bytes = Buffer.from(archive, "base64")
    // Whatever answered: nothing that is not sealed is ever written.
    if (!bytes.subarray(0, seal.length).equals(seal)) {
      return yield* failure(
        "output_not_written",
        "The server gave something that is no sealed archive; nothing was written"
      )
    }
    yield* OutputFile.write(out, bytes, force)
    const outcomes = yield* Effect.forEach(
      connections,
      (one): Effect.Effect<Outcome> => move ? forget(remote, one) : Effect.succeed(one)
    )
    for (const { reason, server } of left) yield* output.say(`${server} is not in the archive: ${reasons[reason]}`)
    if (!move) yield* output.say(sharing)
    const kept = outcomes.filter(({ code }) => code !== undefined)
    const document = { file: out, moved: move, connections: outcomes, left }
    const text = table([
      ["NAME", "RESULT"],
      ...outcomes.map((one) => [
        one.server,
        one.code !== undefined ? `exported, still here (${plain(one.code)})` : move ? "moved" : "exported"
      ])
    ])
    if (kept.length === 0) return yield* output.result({ ok: true, ...document }, text)
    yield* output.data(text)
    return yield* failure(
      "move_incomplete",
      `${kept.length} of ${connections.length} connections are in the archive and still here; export these again`,
      document
    )
  })).pipe(
    Command.withDescription("Write connections to an archive that only its recipient opens; never in the clear"),
    Command.withExamples([
      {
        command: "valetkey export --out backup.age --recipient age1...",
        description: "Every connection, for the holder of an age identity"
      },
      {
        command: "valetkey export notes --out notes.age --passphrase-file phrase --move",
        description: "Move one connection to another machine"
      }
    ])
  )

const seal = Buffer.from("age-encryption.org/v1\n")

const sharing =
  "Both this installation and the archive hold these refresh tokens now. Where a provider rotates them, the first side " +
  "that refreshes makes the other one useless, and a provider that sees an old one may end the whole grant. Import the " +
  "archive only when this installation is gone, or move with --move."

const reasons = {
  needs_reauth: "it needs its person's consent again",
  quarantined: "it is quarantined",
  no_refresh_token: "it has no refresh token",
  integrity_error: "a stored secret of it does not open",
  proxied: "tokens of its server stay here"
} as const

const openerOf = Effect.fnUntraced(function*(input: {
  readonly recipient: Option.Option<string>
  readonly passphraseFile: Option.Option<string>
  readonly passphraseStdin: boolean
}) {
  const { passphraseFile, passphraseStdin, recipient } = input
  if ([Option.isSome(recipient), Option.isSome(passphraseFile), passphraseStdin].filter((one) => one).length !== 1) {
    return yield* failure("usage", "Give one of --recipient, --passphrase-file and --passphrase-stdin")
  }
  if (Option.isSome(recipient)) return Redacted.make<Opener>({ recipient: recipient.value })
  const passphrase = (yield* readPassphrase(input)) ?? Redacted.make("")
  yield* checkPassphrase(passphrase)
  return Redacted.make<Opener>({ passphrase: Redacted.value(passphrase) })
})

type Opener = Pick<ExportRequest, "passphrase" | "recipient">

/** Forgets what the archive holds; a connection that was refreshed meanwhile is told, because the archive has its old token. */
const forget = (remote: Remote, one: Outcome): Effect.Effect<Outcome> =>
  remote.call(operations.forget, one).pipe(
    Effect.as(one),
    // An answer that was lost may have been a success.
    Effect.catch((told) =>
      Effect.succeed(told.code === "connection_not_found" ? one : { ...one, code: told.code, message: told.message })
    )
  )

/** A connection of the archive; with a code it is still here. */
interface Outcome {
  readonly server: string
  readonly generation: number
  readonly code?: string
  readonly message?: string
}

const asNonEmpty = (names: ReadonlyArray<string>): readonly [string, ...Array<string>] => [names[0]!, ...names.slice(1)]
