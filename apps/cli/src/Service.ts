import { locate } from "@valetkey/client/Home"
import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { lstatSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { basename, dirname } from "node:path"
import { failure } from "./CliFailure.ts"
import { answering } from "./LocalServer.ts"
import { Output, plain } from "./Output.ts"
import { launchd, mark, type ServiceUnit, systemd } from "./ServiceUnit.ts"

const flags = {
  system: Flag.Boolean("system").pipe(
    Flag.withDescription("For this machine, as a user made for it, in place of this user; systemd alone"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}

const now = Flag.Boolean("now").pipe(
  Flag.withDescription("Run the commands that are otherwise only printed"),
  Flag.withDefault(false),
  Flag.withoutNegation
)

const Install = Command.make("install", { ...flags, now }, ({ now, system }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const unit = yield* unitOf(system)
    const before = yield* ours(unit)
    const other = system ? undefined : yield* otherServer(unit)
    // Its service would fail, and be started anew for ever, while the manager calls it started.
    if (now && other !== undefined) {
      return yield* failure("service_server_running", `${other.sentence}, then run this again; nothing was changed`)
    }
    const changed = before !== unit.text
    if (changed) yield* write(unit)
    const verified = yield* verify(unit)
    const commands = yield* startingOf(unit, before)
    if (other !== undefined) yield* output.say(`${other.sentence} before its service is started`)
    if (now) yield* runAll(commands)
    else yield* suggest("To start it, now and at every login or boot, run:", commands)
    yield* output.result(
      { ok: true, kind: unit.kind, path: unit.path, changed, verified, started: now, commands: commands.map(line) },
      `${changed ? before === undefined ? "Wrote" : "Replaced" : "Left as it was:"} ${unit.path}`
    )
  })).pipe(
    Command.withDescription("Write the unit of the Valetkey server; starts nothing without --now"),
    Command.withExamples([
      { command: "valetkey service install", description: "Write it, and say how to start it" },
      { command: "valetkey service install --now", description: "Write it and start it" }
    ])
  )

const Uninstall = Command.make("uninstall", { ...flags, now }, ({ now, system }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const unit = yield* unitOf(system)
    const removed = (yield* ours(unit)) !== undefined
    // What is not loaded cannot be unloaded, and need not be.
    const stops = unit.wake === undefined || (yield* stateOf(unit)).loaded
    if (removed && now && stops) yield* runAll(unit.stop)
    if (removed) yield* attempt(unit.path, () => rmSync(unit.path))
    if (removed && !now) yield* suggest("If it runs, it still does; to end it, run:", unit.stop)
    yield* output.result(
      { ok: true, kind: unit.kind, path: unit.path, removed, stopped: removed && now, commands: unit.stop.map(line) },
      removed ? `Removed ${unit.path}` : `There is no ${unit.path}`
    )
  })).pipe(
    Command.withDescription("Remove the unit; ends nothing without --now. Connections stay"),
    Command.withExamples([{
      command: "valetkey service uninstall --now",
      description: "End the service and remove it"
    }])
  )

const Print = Command.make("print", flags, ({ system }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const { kind, path, text } = yield* unitOf(system)
    yield* output.result({ ok: true, kind, path, unit: text }, text.trimEnd())
  })).pipe(
    Command.withDescription("Print the unit and write nothing"),
    Command.withExamples([
      { command: "valetkey service print", description: "What install would write" },
      { command: "valetkey service print --system", description: "The same for the whole machine" }
    ])
  )

/** `valetkey service`: the server as a service of the system's own manager. */
export const Service = Command.make("service").pipe(
  Command.withDescription("Run the Valetkey server as a service: a systemd unit, or a launchd agent on macOS"),
  Command.withSubcommands([Install, Uninstall, Print])
)

const unitOf = Effect.fnUntraced(function*(system: boolean) {
  const { env, platform } = process
  const service = {
    node: realpathSync(process.execPath),
    launcher: realpathSync(process.argv[1] ?? ""),
    system,
    env: { ...env, HOME: env["HOME"] ?? homedir() }
  }
  const places = [service.node, service.launcher, env["VALETKEY_HOME"], env["XDG_DATA_HOME"], env["XDG_CONFIG_HOME"]]
  if (places.some((text) => /\p{Cc}/u.test(text ?? ""))) {
    return yield* failure("usage", "A path with a control character cannot stand in a unit; move what it names")
  }
  if (platform === "linux") return systemd(service)
  if (platform !== "darwin") {
    return yield* failure(
      "service_unsupported",
      "There is no service manager that this command knows; run valetkey serve"
    )
  }
  if (system) return yield* failure("usage", "--system is for systemd; on macOS leave it out")
  return launchd({ ...service, uid: process.getuid?.() ?? 0 })
})

/** The text of the unit that is there; undefined when there is none. Nobody else's is read, replaced or removed. */
const ours = Effect.fnUntraced(function*({ path }: ServiceUnit) {
  const text = yield* attempt(path, () => {
    const found = lstatSync(path, { throwIfNoEntry: false })
    return found === undefined ? undefined : found.isFile() ? readFileSync(path, "utf8") : ""
  })
  if (text === undefined || text.includes(mark)) return text
  return yield* failure("service_foreign", `${path} was not written by this command; move it away, then try again`)
})

/** In one step: nobody sees half of it. */
const write = ({ path, text }: ServiceUnit) =>
  attempt(path, () => {
    mkdirSync(dirname(path), { recursive: true })
    const draft = `${path}.${process.pid}`
    writeFileSync(draft, text, { flag: "wx", mode: 0o644 })
    renameSync(draft, path)
  })

const attempt = <A>(path: string, act: () => A) =>
  Effect.try({
    try: act,
    catch: () => failure("service_not_written", `${path} cannot be changed; check its directory and who you are`)
  })

/** What the manager's own check says: null where there is none. A finding is told and stops nothing. */
const verify = Effect.fnUntraced(function*(unit: ServiceUnit) {
  const output = yield* Output
  const checked = unit.verify === undefined ? undefined : yield* run(unit.verify)
  if (checked === undefined) return null
  // Without a session it checks nothing, and says so in place of naming the file.
  if (!checked.talk.includes(basename(unit.path))) return checked.code === 0 ? true : null
  const findings = checked.talk.slice(0, 2000).trim().split("\n").map(plain).join("; ")
  yield* output.say(`${unit.verify?.[0]} finds something: ${findings}`)
  return false
})

const runAll = (commands: ReadonlyArray<ReadonlyArray<string>>) =>
  Effect.forEach(commands, (command) =>
    Effect.flatMap(run(command), (ran) =>
      ran?.code === 0
        ? Effect.void
        : Effect.fail(
          failure("service_manager_failed", `${line(command)} failed; run it yourself, and then what follows it`)
        )), { discard: true })

/** What the manager says of the unit: whether it is loaded, and which process serves. */
const stateOf = Effect.fnUntraced(function*(unit: ServiceUnit) {
  const ran = yield* run(unit.state)
  const [, pid] = /^\s*(?:MainPID=|pid = )([1-9]\d*)$/m.exec(ran?.told ?? "") ?? []
  return { loaded: ran?.code === 0, pid }
})

/** A server of this user that runs and is not the service: it holds the data directory. */
const otherServer = Effect.fnUntraced(function*(unit: ServiceUnit) {
  const found = yield* answering(locate(process.env))
  if (found === undefined) return undefined
  const { pid } = found
  if (pid !== undefined && (yield* stateOf(unit)).pid === pid) return undefined
  return {
    sentence: pid === undefined
      ? "A Valetkey server of this user runs already and holds the data directory: end it"
      : `A Valetkey server of this user runs already, as process ${pid}, and holds the data directory: end it with \`kill ${pid}\``
  }
})

/** The commands that bring the unit into force. launchd refuses to load what it has loaded, and to unload what it has not. */
const startingOf = Effect.fnUntraced(function*(unit: ServiceUnit, before: string | undefined) {
  const changed = before !== unit.text
  if (unit.wake === undefined) return changed && before !== undefined ? unit.restart : unit.start
  const { loaded } = yield* stateOf(unit)
  return !loaded ? unit.start : changed ? unit.restart : unit.wake
})

const suggest = Effect.fnUntraced(function*(why: string, commands: ReadonlyArray<ReadonlyArray<string>>) {
  const output = yield* Output
  yield* output.say(why)
  for (const command of commands) yield* output.say(`  ${line(command)}`)
})

const line = (command: ReadonlyArray<string>): string =>
  command.map((word) => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`).join(" ")

/** Runs a program with what it needs to find its manager and nothing else; undefined when there is no such program. */
const run = ([file = "", ...args]: ReadonlyArray<string>) =>
  Effect.flatMap(
    Effect.promise(() => import("node:child_process")),
    ({ spawn }) =>
      Effect.callback<{ readonly code: number | null; readonly talk: string; readonly told: string } | undefined>(
        (resume) => {
          const env = Object.fromEntries(
            ["PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"].map((name) => [
              name,
              process.env[name]
            ])
          )
          const child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 })
          let talk = ""
          let told = ""
          child.stdout.on("data", (chunk) => told += String(chunk))
          child.stderr.on("data", (chunk) => talk += String(chunk))
          child.on("error", () => resume(Effect.succeed(undefined)))
          child.on("close", (code) => resume(Effect.succeed({ code, talk, told })))
          return Effect.sync(() => void child.kill())
        }
      )
  )
