import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { lstatSync } from "node:fs"
import { failure } from "./CliFailure.ts"
import * as Interrupts from "./Interrupts.ts"
import { Output, plain, table } from "./Output.ts"
import { isStray, raceFlags, remotesOf, settingsOf } from "./RaceFlags.ts"
import { remoteOf, resolve, type Target } from "./Target.ts"
import { operations } from "./Wire.ts"

/** What one check found, and what to do about it. */
interface Finding {
  readonly name: string
  readonly state: "ok" | "warn" | "fail"
  readonly found: string
  readonly todo?: string | undefined
}

/** `valetkey doctor`: what is wrong here and what to do about it. */
export const Doctor = Command.make("doctor", raceFlags, (input) =>
  Effect.gen(function*() {
    if (isStray(input)) {
      return yield* failure(
        "usage",
        "--url, --connections, --callers, --rounds, --listen and --public-url go with --race"
      )
    }
    if (input.race) {
      const settings = yield* settingsOf(input)
      const { race } = yield* Effect.promise(() => import("./Race.ts"))
      return yield* race(settings, yield* remotesOf(settings.targets), Interrupts.first)
    }
    const output = yield* Output
    const target = yield* resolve
    const findings = [
      node(),
      ...(target._tag === "local" ? local(target.home) : []),
      ...(yield* reachable(target)),
      publicUrl(process.env["VALETKEY_PUBLIC_URL"], target),
      egress(process.env["VALETKEY_ALLOW_EGRESS"])
    ]
    const failed = findings.filter(({ state }) => state === "fail").length
    if (failed > 0 && output.json) {
      return yield* failure("doctor_found_problems", sentenceOf(failed), { checks: findings })
    }
    yield* output.result(
      { ok: true, checks: findings },
      [
        table(findings.map(({ found, name, state }) => [state, name, found])),
        ...findings.flatMap(({ name, todo }) => todo === undefined ? [] : [`${name}: ${todo}`])
      ].join("\n")
    )
    if (failed > 0) return yield* failure("doctor_found_problems", sentenceOf(failed))
  })).pipe(
    Command.withDescription(
      "Check the installation and say what to do; with --race, prove that refreshing holds on it"
    ),
    Command.withExamples([{
      command: "valetkey doctor",
      description: "Files, server, credential and settings, each with what to do"
    }, {
      command: "valetkey doctor --race",
      description: "A hundred callers race for the tokens of five throw-away connections, four times"
    }, {
      command:
        "valetkey doctor --race --url https://a.internal --url https://b.internal --listen 0.0.0.0:9099 --public-url http://me.internal:9099",
      description: "The same over two replicas, with me.internal:9099 in their VALETKEY_ALLOW_EGRESS"
    }])
  )

const sentenceOf = (failed: number) => `${failed} ${failed === 1 ? "check" : "checks"} failed`

const finding = (name: string, state: Finding["state"], found: string, todo?: string): Finding => ({
  name,
  state,
  found,
  ...(todo === undefined ? {} : { todo })
})

const node = (): Finding => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return major > 22 || (major === 22 && minor >= 19)
    ? finding("node", "ok", process.versions.node)
    : finding("node", "fail", process.versions.node, "install Node.js 22.19 or newer; 24 starts twice as fast")
}

const local = (home: Extract<Target, { readonly _tag: "local" }>["home"]): ReadonlyArray<Finding> => [
  isPrivate("data directory", home.data, "directory", "made on first use"),
  isPrivate("configuration directory", home.config, "directory", "made on first use"),
  keys(home),
  isPrivate("socket", home.socket, "socket", "no server runs; commands that need one start it"),
  isPrivate("token file", home.token, "file", "no server runs")
]

const keySources = ["VALETKEY_KEYS", "VALETKEY_KEYS_FILE", "VALETKEY_KEYS_FD", "VALETKEY_KEYS_WRAPPED"] as const

/** The key file is what is meant where no other source is; whether the server can use the keys is the server's to say. */
const keys = (home: Extract<Target, { readonly _tag: "local" }>["home"]): Finding => {
  const source = keySources.find((name) => (process.env[name] ?? "") !== "")
  return source === undefined
    ? isPrivate("key file", home.keys, "file", existing(home.database) ? undefined : "made on first use")
    : finding("key file", "ok", `not used; ${source} is set`)
}

/** Whether the path is a thing of this kind that belongs to this user alone. Missing is fine when `missing` says so. */
const isPrivate = (
  name: string,
  path: string,
  kind: "directory" | "file" | "socket",
  missing: string | undefined
): Finding => {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) {
    return missing === undefined
      ? finding(
        name,
        "fail",
        `${path} is missing`,
        "restore it from a backup, or set VALETKEY_KEYS; without it nothing that is stored can be opened"
      )
      : finding(name, "ok", missing)
  }
  const right = kind === "directory" ? stats.isDirectory() : kind === "socket" ? stats.isSocket() : stats.isFile()
  if (!right) return finding(name, "fail", `${path} is not a ${kind}`, `move ${path} away`)
  if (process.getuid !== undefined && stats.uid !== process.getuid()) {
    return finding(name, "fail", `${path} belongs to another user`, `run chown on ${path}, or set VALETKEY_HOME`)
  }
  return (stats.mode & 0o077) === 0
    ? finding(name, "ok", path)
    : finding(name, "fail", `${path} is open to others`, `run chmod go-rwx ${path}`)
}

const existing = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined

/** Asks the server for its readiness; its own checks (store, key) are findings of ours. */
const reachable = (target: Target) =>
  Effect.gen(function*() {
    const remote = remoteOf(target)
    const { checks, ready } = yield* remote.call(operations.ready, undefined)
    const authorized = yield* Effect.result(remote.call(operations.connections, undefined))
    return [
      finding(
        "server",
        ready ? "ok" : "fail",
        ready ? "ready" : "not ready",
        ready ? undefined : "see the checks below"
      ),
      authorized._tag === "Success"
        ? finding("credential", "ok", "accepted")
        : finding(
          "credential",
          "fail",
          plain(authorized.failure.message),
          "check VALETKEY_TOKEN or restart the server"
        ),
      ...checks.map((check) =>
        finding(
          `server: ${plain(check.name)}`,
          check.ok ? check.reason.startsWith("degraded") ? "warn" : "ok" : "fail",
          plain(check.reason),
          check.name === "instance" && !check.ok
            ? "set the instance id that the database knows, or run valetkey takeover --confirm"
            : undefined
        )
      )
    ]
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed([
        target._tag === "local" && !existing(target.home.socket)
          ? finding(
            "server",
            "warn",
            "not running",
            "it starts with the first command that needs it, or: valetkey serve"
          )
          : finding("server", "fail", error.message, "start the server, or check its address")
      ])
    )
  )

const publicUrl = (value: string | undefined, target: Target): Finding => {
  if (value === undefined || value === "") {
    return finding("public URL", "ok", "not set; the loopback transport needs none")
  }
  const listens = ["VALETKEY_LISTEN", "VALETKEY_PUBLIC_LISTEN", "DATABASE_URL"]
  if (target._tag === "local" && listens.every((name) => (process.env[name] ?? "") === "")) {
    return finding(
      "public URL",
      "fail",
      "VALETKEY_PUBLIC_URL leads nowhere: a local server listens to its socket alone, and does not start so",
      "set VALETKEY_PUBLIC_LISTEN for the pages of browsers, or VALETKEY_LISTEN for these and the API"
    )
  }
  const url = URL.parse(value)
  return url !== null && url.search === "" && url.hash === "" &&
      (url.protocol === "https:" || /^(localhost|127\.[\d.]+|\[::1\])$/.test(url.hostname))
    ? finding("public URL", "ok", url.origin)
    : finding("public URL", "fail", "VALETKEY_PUBLIC_URL is not an https URL", "set it to the URL that browsers use")
}

const egress = (value: string | undefined): Finding => {
  const entries = (value ?? "").split(",").map((entry) => entry.trim()).filter((entry) => entry !== "")
  if (entries.length === 0) return finding("egress", "ok", "global addresses alone")
  const wrong = entries.findIndex((entry) => !/^(\[[0-9a-fA-F:.]+\]|[^\s:/@[\]]+):\d{1,5}$/.test(entry))
  return wrong === -1
    ? finding(
      "egress",
      "warn",
      `${entries.length} endpoints beyond global addresses`,
      "keep the list as short as it can be"
    )
    : finding("egress", "fail", `entry ${wrong + 1} of VALETKEY_ALLOW_EGRESS is not host:port`, "write host:port")
}
