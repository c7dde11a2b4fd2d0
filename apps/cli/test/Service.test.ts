import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { launchd, systemd } from "../src/ServiceUnit.ts"
import * as Valetkey from "./support/Valetkey.ts"

const ada = { HOME: "/srv/ada" }
const service = { node: "/usr/bin/node", launcher: "/opt/valetkey/valetkey.cjs", system: false, env: ada }

/** The assignments of a unit file, by section and in order. */
const parsed = (text: string) => {
  const found: Array<readonly [string, string]> = []
  let section = ""
  for (const line of text.split("\n")) {
    const [, name] = /^\[(\w+)\]$/.exec(line) ?? []
    if (name !== undefined) section = name
    else if (line !== "" && !line.startsWith("#")) {
      const mark = line.indexOf("=")
      assert.isAbove(mark, 0, line)
      found.push([`${section}.${line.slice(0, mark)}`, line.slice(mark + 1)])
    }
  }
  return found
}

/** The words of a unit's value, as systemd reads them; a lone percent or dollar would mean something else to it. */
const words = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([word, quoted]) => {
    assert.notMatch(word.replaceAll("%%", "").replaceAll("$$", ""), /[%$]/)
    return (quoted?.replace(/\\(.)/g, "$1") ?? word).replaceAll("%%", "%").replaceAll("$$", "$")
  })

describe("the unit", () => {
  it("of a user is what a person can read", () => {
    assert.deepStrictEqual(systemd(service), {
      kind: "systemd",
      path: "/srv/ada/.config/systemd/user/valetkey.service",
      text: `# Written by valetkey service install; valetkey service uninstall removes it.
[Unit]
Description=Valetkey server

[Service]
Type=exec
ExecStart="/usr/bin/node" "/opt/valetkey/valetkey.cjs" serve
EnvironmentFile=-/srv/ada/.config/valetkey/environment
Restart=on-failure
RestartSec=2
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
PrivateTmp=yes

[Install]
WantedBy=default.target
`,
      start: [["systemctl", "--user", "enable", "--now", "valetkey.service"]],
      restart: [
        ["systemctl", "--user", "enable", "valetkey.service"],
        ["systemctl", "--user", "restart", "valetkey.service"]
      ],
      wake: undefined,
      stop: [["systemctl", "--user", "disable", "--now", "valetkey.service"]],
      state: ["systemctl", "--user", "show", "--property=MainPID", "valetkey.service"],
      verify: ["systemd-analyze", "--user", "verify", "/srv/ada/.config/systemd/user/valetkey.service"]
    })
  })

  it("DAEM-19 makes no core dump, private files and no new privileges, for a user and for a machine", () => {
    for (const system of [false, true]) {
      const assignments = new Map(parsed(systemd({ ...service, system }).text))
      assert.strictEqual(assignments.get("Service.LimitCORE"), "0")
      assert.strictEqual(assignments.get("Service.UMask"), "0077")
      assert.strictEqual(assignments.get("Service.NoNewPrivileges"), "yes")
      assert.strictEqual(assignments.get("Service.PrivateTmp"), "yes")
    }
    assert.include(launchd({ ...service, uid: 501 }).text, "<key>Umask</key>\n  <integer>63</integer>")
  })

  it("of a machine runs as a user of its own, with a directory of its own", () => {
    const unit = systemd({ ...service, system: true })
    assert.strictEqual(unit.path, "/etc/systemd/system/valetkey.service")
    const assignments = new Map(parsed(unit.text))
    assert.strictEqual(assignments.get("Service.DynamicUser"), "yes")
    assert.strictEqual(assignments.get("Service.EnvironmentFile"), "-/etc/valetkey/environment")
    assert.strictEqual(assignments.get("Service.Environment"), "\"VALETKEY_HOME=/var/lib/valetkey\"")
    assert.isTrue(unit.start.every((command) => !command.includes("--user")))
  })

  it("keeps paths with spaces, quotes, percents and dollars whole", () => {
    const odd = "/opt/a \"b\" \\c %d $e/valetkey.cjs"
    const env = { ...ada, VALETKEY_HOME: "/srv/50% off/x", XDG_CONFIG_HOME: "/srv/ada/my %config" }
    const { path, text } = systemd({ ...service, launcher: odd, env })
    const assignments = parsed(text)
    const [, exec = ""] = assignments.find(([name]) => name === "Service.ExecStart") ?? []
    assert.deepStrictEqual(words(exec), ["/usr/bin/node", odd, "serve"])
    assert.deepStrictEqual(
      assignments.filter(([name]) => name === "Service.Environment").map(([, value]) => words(value)),
      [["VALETKEY_HOME=/srv/50% off/x"], ["XDG_CONFIG_HOME=/srv/ada/my %config"]]
    )
    assert.strictEqual(path, "/srv/ada/my %config/systemd/user/valetkey.service")
    assert.include(text, "EnvironmentFile=-/srv/50%% off/x/config/environment\n")
  })

  it("DAEM-07 carries nothing of the environment but where the files are", () => {
    const env = {
      ...ada,
      VALETKEY_HOME: "/srv/valetkey",
      VALETKEY_KEYS: "1:secret",
      VALETKEY_TOKEN: "secret",
      DATABASE_URL: "postgres://ada:secret@db/x",
      SOMETHING: "secret"
    }
    for (
      const { text } of [
        systemd({ ...service, env }),
        systemd({ ...service, env, system: true }),
        launchd({ ...service, env, uid: 501 })
      ]
    ) assert.notInclude(text, "secret")
  })

  it("leaves the shared temporary directory in sight where the socket lies in it", () => {
    const text = (VALETKEY_HOME: string) => systemd({ ...service, env: { ...ada, VALETKEY_HOME } }).text
    assert.include(text("/tmp/x"), "PrivateTmp=no")
    assert.include(text("/tmpx/x"), "PrivateTmp=yes")
  })

  it("DAEM-19 of launchd is a property list with the same limits", () => {
    const { kind, path, restart, start, stop, text } = launchd({
      ...service,
      env: { ...ada, VALETKEY_HOME: "/srv/a & <b>" },
      uid: 501
    })
    assert.strictEqual(kind, "launchd")
    assert.strictEqual(path, "/srv/ada/Library/LaunchAgents/dev.valetkey.server.plist")
    assert.deepStrictEqual(start, [["launchctl", "bootstrap", "gui/501", path]])
    assert.deepStrictEqual(stop, [["launchctl", "bootout", "gui/501/dev.valetkey.server"]])
    assert.deepStrictEqual(restart, [...stop, ...start])
    assert.strictEqual(
      text,
      `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by valetkey service install; valetkey service uninstall removes it. -->
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>dev.valetkey.server</string>
  <key>ProgramArguments</key>
  <array>
    <string>/usr/bin/node</string>
    <string>/opt/valetkey/valetkey.cjs</string>
    <string>serve</string>
  </array>
  <key>EnvironmentVariables</key>
  <dict>
    <key>VALETKEY_HOME</key>
    <string>/srv/a &amp; &lt;b&gt;</string>
  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ProcessType</key>
  <string>Background</string>
  <key>Umask</key>
  <integer>63</integer>
  <key>SoftResourceLimits</key>
  <dict>
    <key>Core</key>
    <integer>0</integer>
  </dict>
  <key>HardResourceLimits</key>
  <dict>
    <key>Core</key>
    <integer>0</integer>
  </dict>
  <key>StandardErrorPath</key>
  <string>/srv/ada/Library/Logs/valetkey.log</string>
</dict>
</plist>
`
    )
  })
})

/** An installation whose systemd is played: each call is written down, and ends as the test says. */
const played = Effect.gen(function*() {
  const valetkey = yield* Valetkey.make
  const directory = join(dirname(valetkey.home.data), "bin")
  const log = join(directory, "calls")
  mkdirSync(directory)
  const play = (name: string, code: number, talk = "", state: readonly [code: number, told: string] = [0, ""]) => {
    const path = join(directory, name)
    writeFileSync(
      path,
      `#!${process.execPath}\nrequire("node:fs").appendFileSync(${JSON.stringify(log)}, ` +
        `JSON.stringify([${
          JSON.stringify(name)
        }, ...process.argv.slice(2), Object.keys(process.env).sort().join()]) + "\\n")\n` +
        `if (["show", "print"].some((word) => process.argv.includes(word))) {\n` +
        `process.stdout.write(${JSON.stringify(state[1])})\nprocess.exitCode = ${state[0]}\n} else {\n` +
        `process.stderr.write(${JSON.stringify(talk)})\nprocess.exitCode = ${code}\n}\n`
    )
    chmodSync(path, 0o755)
  }
  play("systemctl", 0)
  play("systemd-analyze", 0)
  const calls = (): ReadonlyArray<ReadonlyArray<string>> =>
    existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line)) : []
  const env = { PATH: directory, VALETKEY_TOKEN: "not-for-others" }
  const path = join(dirname(valetkey.home.data), ".config/systemd/user/valetkey.service")
  return { valetkey, env, calls, play, path }
})

describe("valetkey service", () => {
  it.live("writes the unit that it prints, says how to start it, and starts nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { calls, env, path, valetkey } = yield* played
      const printed = yield* valetkey.run(["service", "print"], env)
      assert.isFalse(existsSync(path))
      const installed = yield* valetkey.run(["service", "install"], env)
      assert.strictEqual(installed.code, 0, installed.stderr)
      assert.include(installed.stderr, "systemctl --user enable --now valetkey.service")
      assert.strictEqual(readFileSync(path, "utf8"), printed.stdout)
      assert.strictEqual(statSync(path).mode & 0o777, 0o644)
      assert.deepStrictEqual(calls().map(([name]) => name), ["systemd-analyze"])
      const again = yield* valetkey.json(["service", "install"], env)
      assert.propertyVal(again.document, "changed", false)
      assert.propertyVal(again.document, "verified", true)
      const removed = yield* valetkey.json(["service", "uninstall"], env)
      assert.propertyVal(removed.document, "removed", true)
      assert.isFalse(existsSync(path))
      assert.propertyVal((yield* valetkey.json(["service", "uninstall"], env)).document, "removed", false)
      assert.isFalse(calls().some(([name]) => name === "systemctl"))
      assert.isUndefined(valetkey.serverPid)
    })))

  it.live("starts a program that is this command, with absolute paths", () =>
    Effect.scoped(Effect.gen(function*() {
      const { env, valetkey } = yield* played
      const { document } = yield* valetkey.json(["service", "print"], env)
      const [, exec = ""] = parsed(String(document["unit"])).find(([name]) => name === "Service.ExecStart") ?? []
      const [node = "", launcher = "", ...rest] = words(exec)
      assert.deepStrictEqual(rest, ["serve"])
      const version = execFileSync(node, [launcher, "--version"], { env: {}, encoding: "utf8", cwd: "/" })
      assert.strictEqual(version, (yield* valetkey.run(["--version"])).stdout)
    })))

  it.live("DAEM-07 with --now runs the manager's own commands, in their order and with nothing secret in sight", () =>
    Effect.scoped(Effect.gen(function*() {
      const { calls, env, path, valetkey } = yield* played
      const started = yield* valetkey.json(["service", "install", "--now"], env)
      assert.propertyVal(started.document, "started", true)
      writeFileSync(path, readFileSync(path, "utf8").replace("RestartSec=2", "RestartSec=20"))
      yield* valetkey.json(["service", "install", "--now"], env)
      assert.include(readFileSync(path, "utf8"), "RestartSec=2\n")
      yield* valetkey.json(["service", "uninstall", "--now"], env)
      assert.isFalse(existsSync(path))
      const unit = "valetkey.service"
      assert.deepStrictEqual(calls().filter(([name]) => name === "systemctl").map((call) => call.slice(1, -1)), [
        ["--user", "enable", "--now", unit],
        ["--user", "enable", unit],
        ["--user", "restart", unit],
        ["--user", "disable", "--now", unit]
      ])
      for (const call of calls()) assert.notInclude(call.at(-1) ?? "", "VALETKEY")
    })))

  it.live("starts no service beside a server that runs, and names the process to end", () =>
    Effect.scoped(Effect.gen(function*() {
      const { calls, env, path, play, valetkey } = yield* played
      yield* valetkey.serve()
      const pid = valetkey.serverPid
      const refused = yield* valetkey.json(["service", "install", "--now"], env)
      assert.deepStrictEqual([refused.code, refused.error.code], [1, "service_server_running"])
      assert.include(refused.error.message, `\`kill ${pid}\``)
      assert.isFalse(existsSync(path))
      assert.deepStrictEqual(calls().map(([, , verb]) => verb), ["show"])
      assert.include((yield* valetkey.run(["service", "install"], env)).stderr, `\`kill ${pid}\``)
      // Another process of the manager, then the service itself.
      play("systemctl", 0, "", [0, "MainPID=1\n"])
      assert.strictEqual(
        (yield* valetkey.json(["service", "install", "--now"], env)).error.code,
        "service_server_running"
      )
      play("systemctl", 0, "", [0, `MainPID=${pid}\n`])
      assert.propertyVal((yield* valetkey.json(["service", "install", "--now"], env)).document, "started", true)
      yield* valetkey.stop()
      play("systemctl", 0, "", [0, "MainPID=0\n"])
      assert.propertyVal((yield* valetkey.json(["service", "install", "--now"], env)).document, "started", true)
    })))

  it.live("asks launchd to load what it has not loaded, and to unload what it has, and for nothing that it would refuse", () =>
    Effect.scoped(Effect.gen(function*() {
      const { calls, env, play, valetkey } = yield* played
      const path = join(dirname(valetkey.home.data), "Library/LaunchAgents/dev.valetkey.server.plist")
      const script = "Object.defineProperty(process, 'platform', { value: 'darwin' })"
      const mac = { ...env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(script)}` }
      play("plutil", 0)
      const [there, missing] = [[0, "\tpid = 7\n"], [113, ""]] as const
      const asked = Effect.fnUntraced(
        function*(what: "install" | "uninstall", state: readonly [number, string], changed = false) {
          play("launchctl", 0, "", state)
          if (changed) writeFileSync(path, readFileSync(path, "utf8").replace("Background", "Adaptive"))
          const before = calls().length
          const ended = yield* valetkey.run(["service", what, "--now"], mac)
          assert.strictEqual(ended.code, 0, ended.stderr)
          return calls().slice(before).flatMap(([name, verb]) => name === "launchctl" && verb !== "print" ? [verb] : [])
        }
      )
      assert.deepStrictEqual(yield* asked("install", missing), ["bootstrap"])
      assert.deepStrictEqual(yield* asked("install", there), ["kickstart"])
      assert.deepStrictEqual(yield* asked("install", missing), ["bootstrap"])
      assert.deepStrictEqual(yield* asked("install", there, true), ["bootout", "bootstrap"])
      assert.deepStrictEqual(yield* asked("install", missing, true), ["bootstrap"])
      assert.deepStrictEqual(yield* asked("uninstall", missing), [])
      // Its file was removed while it ran on.
      assert.deepStrictEqual(yield* asked("install", there), ["bootout", "bootstrap"])
      assert.deepStrictEqual(yield* asked("uninstall", there), ["bootout"])
    })))

  it.live("tells what the manager finds, and when it fails", () =>
    Effect.scoped(Effect.gen(function*() {
      const { env, path, play, valetkey } = yield* played
      play("systemd-analyze", 1, `${path}:3: Unknown key\n`)
      const found = yield* valetkey.json(["service", "install"], env)
      assert.propertyVal(found.document, "verified", false)
      assert.include(found.stderr, "Unknown key")
      play("systemd-analyze", 0, `${path}:9: Failed to parse, ignoring\n`)
      assert.propertyVal((yield* valetkey.json(["service", "install"], env)).document, "verified", false)
      play("systemctl", 1)
      const failed = yield* valetkey.json(["service", "install", "--now"], env)
      assert.deepStrictEqual([failed.code, failed.error.code], [1, "service_manager_failed"])
      play("systemd-analyze", 1, "Failed to initialize manager\n")
      const unchecked = yield* valetkey.json(["service", "install"], env)
      assert.propertyVal(unchecked.document, "verified", null)
      assert.notInclude(unchecked.stderr, "initialize")
    })))

  it.live("leaves alone what it did not write: a file of somebody else, and a link", () =>
    Effect.scoped(Effect.gen(function*() {
      const { env, path, valetkey } = yield* played
      mkdirSync(dirname(path), { recursive: true })
      const refused = Effect.gen(function*() {
        for (const command of ["install", "uninstall"]) {
          const ended = yield* valetkey.json(["service", command, "--now"], env)
          assert.deepStrictEqual([ended.code, ended.error.code], [1, "service_foreign"])
        }
      })
      writeFileSync(path, "[Service]\nExecStart=/bin/true\n")
      yield* refused
      assert.include(readFileSync(path, "utf8"), "/bin/true")
      const { env: elsewhere, path: link, valetkey: other } = yield* played
      mkdirSync(dirname(link), { recursive: true })
      symlinkSync("/dev/null", link)
      assert.strictEqual((yield* other.json(["service", "install"], elsewhere)).error.code, "service_foreign")
    })))

  it.live("says so when it may not write", () =>
    Effect.scoped(Effect.gen(function*() {
      const { env, path, valetkey } = yield* played
      mkdirSync(dirname(dirname(dirname(path))), { recursive: true })
      writeFileSync(dirname(dirname(path)), "")
      const refused = yield* valetkey.json(["service", "install"], env)
      assert.deepStrictEqual([refused.code, refused.error.code], [1, "service_not_written"])
    })))
})
