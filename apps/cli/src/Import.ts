import type { AgeKey } from "@valetkey/keyring/AgeFile"
import { Effect, Option, Redacted } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs"
import type { Archived, Reading } from "./ArchiveReader.ts"
import { type CliFailure, failure } from "./CliFailure.ts"
import { type Candidate, importOne, type Report } from "./Importing.ts"
import * as McpRemote from "./McpRemote.ts"
import { Output, plain, table } from "./Output.ts"
import { maxInput, readIdentities, readPassphrase, readStdin } from "./SecretInput.ts"
import { reach } from "./Target.ts"

/** `valetkey import`: connections that an archive or another tool holds. */
export const Import = Command.make("import", {
  source: Argument.String("source").pipe(
    Argument.withDescription("The archive, or - for stdin; with --from mcp-remote the URLs that it was started with"),
    Argument.variadic({ min: 1 })
  ),
  from: Flag.Literals("from", ["archive", "mcp-remote"]).pipe(
    Flag.withDescription("Who holds the connections"),
    Flag.withDefault("archive" as const)
  ),
  format: Flag.Literals("format", ["age", "json"]).pipe(
    Flag.withDescription("Whether the archive is sealed, or a plaintext document"),
    Flag.withDefault("age" as const)
  ),
  identityFile: Flag.String("identity-file").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("Age identities that open the archive, as age-keygen writes them"),
    Flag.optional
  ),
  passphraseFile: Flag.String("passphrase-file").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("File with the passphrase that opens the archive"),
    Flag.optional
  ),
  passphraseStdin: Flag.Boolean("passphrase-stdin").pipe(
    Flag.withDescription("Read the passphrase from stdin"),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  dir: Flag.String("dir").pipe(
    Flag.withDescription("Directory of mcp-remote; default MCP_REMOTE_CONFIG_DIR, else ~/.mcp-auth"),
    Flag.optional
  ),
  resource: Flag.String("resource").pipe(
    Flag.withDescription("The --resource that mcp-remote was started with"),
    Flag.optional
  ),
  name: Flag.String("name").pipe(
    Flag.withDescription("Name to give to a single connection in place of its own"),
    Flag.optional
  ),
  replace: Flag.Boolean("replace").pipe(
    Flag.withDescription("Overwrite connections that are here, even by ones that turn out to be refused"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, (input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const held = yield* (input.from === "mcp-remote" ? fromMcpRemote(input) : fromArchive(input))
    const remote = yield* reach({ start: true })
    const reports: Array<Report> = []
    for (const one of held) {
      if (!("deposit" in one)) {
        reports.push(one)
        continue
      }
      yield* output.status(`Importing ${one.server}`)
      reports.push(
        yield* Effect.onInterrupt(
          importOne(remote, one, input.replace),
          () => output.say(`Stopped in the middle of ${one.server}: look at \`valetkey status ${one.server}\``)
        )
      )
    }
    yield* output.status("")
    yield* conclude(reports, input.from)
  })).pipe(
    Command.withDescription(
      "Import connections from an archive, or from mcp-remote. Each refresh token is used once to prove it, so that it is of no use where it came from"
    ),
    Command.withExamples([
      {
        command: "valetkey import backup.age --identity-file ~/.config/age/key.txt",
        description: "From an archive of `valetkey export`"
      },
      {
        command: "valetkey import --from mcp-remote https://mcp.example.com/mcp",
        description: "What mcp-remote has connected"
      }
    ])
  )

type Found = Candidate | Report

interface Input {
  readonly source: ReadonlyArray<string>
  readonly format: "age" | "json"
  readonly identityFile: Option.Option<string>
  readonly passphraseFile: Option.Option<string>
  readonly passphraseStdin: boolean
  readonly dir: Option.Option<string>
  readonly resource: Option.Option<string>
  readonly name: Option.Option<string>
}

const fromMcpRemote = Effect.fnUntraced(function*(input: Input) {
  const { dir, format, identityFile, name, passphraseFile, passphraseStdin, resource, source } = input
  if (format === "json" || Option.isSome(identityFile) || Option.isSome(passphraseFile) || passphraseStdin) {
    return yield* failure("usage", "--format, --identity-file and the passphrase go with an archive")
  }
  if (source.length > 1 && (Option.isSome(name) || Option.isSome(resource))) {
    return yield* failure("usage", "--name and --resource go with one URL")
  }
  return yield* Effect.forEach(source, (url) =>
    McpRemote.find({
      directory: Option.getOrElse(dir, () => McpRemote.usualDirectory(process.env)),
      url,
      resource: Option.getOrUndefined(resource),
      name: Option.getOrUndefined(name)
    }).pipe(
      // One that is not there does not keep the others; a command line that is wrong does.
      Effect.catch((told): Effect.Effect<Found, CliFailure> =>
        told.code === "usage"
          ? Effect.fail(told)
          : Effect.succeed({ server: url, imported: false, code: told.code, message: told.message })
      )
    ))
})

const fromArchive = Effect.fnUntraced(function*(input: Input) {
  const output = yield* Output
  const { dir, format, name, passphraseStdin, resource, source: [file = "", ...more] } = input
  if (more.length > 0) return yield* failure("usage", "One archive is imported at a time")
  if (Option.isSome(dir) || Option.isSome(resource)) {
    return yield* failure("usage", "--dir and --resource go with --from mcp-remote")
  }
  if (file === "-" && passphraseStdin) {
    return yield* failure("usage", "stdin is the archive or the passphrase, and not both")
  }
  const key = yield* keyOf(input)
  const { bytes, open } = file === "-" ? { bytes: yield* readStdin, open: false } : yield* readSource(file)
  const { readDocument, readSealed } = yield* Effect.promise(() => import("./ArchiveReader.ts"))
  const reading: Reading = key === undefined
    ? readDocument(bytes)
    : yield* Effect.promise(() => readSealed(bytes, Redacted.value(key)))
  if (reading._tag === "Refused") return yield* failure(reading.code, reading.sentence)
  if (format === "json" && open) {
    yield* output.say(`${file} holds refresh tokens in the clear and others can read it: remove it afterwards`)
  }
  if (Option.isSome(name) && reading.connections.length > 1) {
    return yield* failure("usage", "--name goes with an archive of one connection")
  }
  return reading.connections.map((one) => candidateOf(one, Option.getOrUndefined(name)))
})

/** What opens the archive; undefined for a plaintext document. */
const keyOf = Effect.fnUntraced(function*({ format, identityFile, passphraseFile, passphraseStdin }: Input) {
  const given = [Option.isSome(identityFile), Option.isSome(passphraseFile), passphraseStdin].filter((one) =>
    one
  ).length
  if (format === "json") {
    if (given > 0) return yield* failure("usage", "A plaintext document has neither identity nor passphrase")
    return undefined
  }
  if (given !== 1) {
    return yield* failure("usage", "Give one of --identity-file, --passphrase-file and --passphrase-stdin")
  }
  if (Option.isSome(identityFile)) {
    const identities = yield* readIdentities(identityFile.value)
    return Redacted.make<AgeKey>({ _tag: "Identities", identities: identities.map(Redacted.value) })
  }
  const passphrase = yield* readPassphrase({ passphraseFile, passphraseStdin })
  return Redacted.make<AgeKey>({
    _tag: "Passphrase",
    passphrase: passphrase === undefined ? "" : Redacted.value(passphrase)
  })
})

/** The bytes of an archive, and whether others can read them. */
const readSource = (path: string) =>
  Effect.try({
    try: () => {
      const file = openSync(path, "r")
      try {
        const { mode, size } = fstatSync(file)
        return size > maxInput ? undefined : { bytes: new Uint8Array(readFileSync(file)), open: (mode & 0o077) !== 0 }
      } finally {
        closeSync(file)
      }
    },
    catch: () => failure("archive_unreadable", `${path} cannot be read; check its name and its permissions`)
  }).pipe(
    Effect.flatMap((found) =>
      found === undefined
        ? Effect.fail(failure("archive_too_large", `${path} is larger than any archive that Valetkey writes; split it`))
        : Effect.succeed(found)
    )
  )

const candidateOf = ({ definition, server, ...deposit }: Archived, name: string | undefined): Candidate => {
  // The redemption gives a new one, and the old one was that of the other side.
  const { accessToken: _, expiresAt: __, ...proved } = deposit
  return { server: name ?? server, definition, deposit: Redacted.make(proved) }
}

/** Says what became of each connection. One that is not here makes the command fail. */
const conclude = Effect.fnUntraced(function*(reports: ReadonlyArray<Report>, from: "archive" | "mcp-remote") {
  const output = yield* Output
  const imported = reports.filter((one) => one.imported).length
  const failed = reports.filter((one) => one.code !== undefined).length
  const text = table([
    ["NAME", "RESULT", "DETAIL"],
    ...reports.map((one) => [plain(one.server), resultOf(one), plain(one.message ?? one.taken ?? "")])
  ])
  if (imported > 0) {
    yield* output.say(
      from === "archive"
        ? "The refresh tokens of what was imported are used up where they came from: remove the archive, or keep it as a record"
        : "mcp-remote asks for consent again for what was taken. To undo, rename a file back: its refresh token is used up, so that mcp-remote asks for consent then too"
    )
  }
  for (const { definition, server } of reports) {
    if (definition === "left_out") {
      yield* output.say(`${plain(server)} has no definition here: adding one needs the scope admin`)
    }
  }
  if (failed === 0) return yield* output.result({ ok: true, imported, connections: reports }, text)
  yield* output.data(text)
  return yield* failure(
    "import_incomplete",
    `${failed} of ${reports.length} connections need a look; the others are imported`,
    { imported, failed, connections: reports }
  )
})

const resultOf = ({ code, imported, uncertain }: Report): string =>
  uncertain === true
    ? `uncertain (${code})`
    : !imported
    ? `failed (${code})`
    : code === undefined
    ? "imported"
    : `imported (${code})`
