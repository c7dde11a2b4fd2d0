import { type Home, locate } from "@valetkey/client/Home"
import { join } from "node:path"

/** What a service runs, and for whom. */
export interface Service {
  readonly node: string
  /** The command's own file. */
  readonly launcher: string
  /** For this machine rather than for this user. */
  readonly system: boolean
  readonly env: Readonly<Record<string, string | undefined>>
}

/** A file that a service manager reads. It holds no secret, and a person can read it too. */
export interface ServiceUnit {
  readonly kind: "launchd" | "systemd"
  readonly path: string
  readonly text: string
  /** The commands that start it, now and from then on. */
  readonly start: ReadonlyArray<ReadonlyArray<string>>
  /** The commands that start it anew, after its file was replaced. */
  readonly restart: ReadonlyArray<ReadonlyArray<string>>
  /** The commands that start what a manager has loaded as it is; undefined where `start` does. */
  readonly wake: ReadonlyArray<ReadonlyArray<string>> | undefined
  /** The commands that end it, before the file is removed. */
  readonly stop: ReadonlyArray<ReadonlyArray<string>>
  /** The command that succeeds for what the manager has loaded, and tells the number of its process. */
  readonly state: ReadonlyArray<string>
  /** The command that tells what is wrong with the file. */
  readonly verify: ReadonlyArray<string> | undefined
}

/** Stands in every file that this command wrote, and so may replace or remove. */
export const mark = "Written by valetkey service install"

/** The unit of a systemd that is at least 240. */
export const systemd = (service: Service): ServiceUnit => {
  const home = locate(service.env)
  const user = service.system ? [] : ["--user"]
  const path = service.system
    ? "/etc/systemd/system/valetkey.service"
    : join(configuration(service.env), "systemd/user/valetkey.service")
  const lines = [
    `# ${mark}; valetkey service uninstall removes it.`,
    "[Unit]",
    "Description=Valetkey server",
    ...(service.system ? ["Wants=network-online.target", "After=network-online.target"] : []),
    "",
    "[Service]",
    "Type=exec",
    `ExecStart=${quoted(service.node)} ${quoted(service.launcher.replaceAll("$", "$$$$"))} serve`,
    ...(service.system
      ? [
        "DynamicUser=yes",
        "StateDirectory=valetkey",
        "StateDirectoryMode=0700",
        "Environment=\"VALETKEY_HOME=/var/lib/valetkey\""
      ]
      : placesOf(service.env, home).map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`)),
    // Where the configuration goes, secrets included: a file of mode 0600 that need not be there.
    `EnvironmentFile=-${(service.system ? "/etc/valetkey" : home.config).replaceAll("%", "%%")}/environment`,
    "Restart=on-failure",
    "RestartSec=2",
    "UMask=0077",
    "LimitCORE=0",
    "NoNewPrivileges=yes",
    // A directory of its own would hide a socket that lies there from everybody else.
    `PrivateTmp=${!service.system && /^\/(var\/)?tmp\//.test(home.data) ? "no" : "yes"}`,
    "",
    "[Install]",
    `WantedBy=${service.system ? "multi-user" : "default"}.target`,
    ""
  ]
  return {
    kind: "systemd",
    path,
    text: lines.join("\n"),
    // Enabling has systemd read its files again.
    start: [["systemctl", ...user, "enable", "--now", "valetkey.service"]],
    restart: [["systemctl", ...user, "enable", "valetkey.service"], [
      "systemctl",
      ...user,
      "restart",
      "valetkey.service"
    ]],
    wake: undefined,
    stop: [["systemctl", ...user, "disable", "--now", "valetkey.service"]],
    state: ["systemctl", ...user, "show", "--property=MainPID", "valetkey.service"],
    verify: ["systemd-analyze", ...user, "verify", path]
  }
}

/** The agent of a user's launchd. */
export const launchd = (service: Service & { readonly uid: number }): ServiceUnit => {
  const home = locate(service.env)
  const library = join(service.env["HOME"] ?? "", "Library")
  const path = join(library, "LaunchAgents/dev.valetkey.server.plist")
  const text = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ${mark}; valetkey service uninstall removes it. -->
<plist version="1.0">
${
    element({
      Label: "dev.valetkey.server",
      ProgramArguments: [service.node, service.launcher, "serve"],
      EnvironmentVariables: Object.fromEntries(placesOf(service.env, home)),
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ProcessType: "Background",
      // 0077: a property list knows no octal numbers.
      Umask: 63,
      SoftResourceLimits: { Core: 0 },
      HardResourceLimits: { Core: 0 },
      StandardErrorPath: join(library, "Logs/valetkey.log")
    }, "")
  }
</plist>
`
  const target = `gui/${service.uid}/dev.valetkey.server`
  const start = ["launchctl", "bootstrap", `gui/${service.uid}`, path]
  const stop = ["launchctl", "bootout", target]
  return {
    kind: "launchd",
    path,
    text,
    start: [start],
    restart: [stop, start],
    wake: [["launchctl", "kickstart", target]],
    stop: [stop],
    state: ["launchctl", "print", target],
    verify: ["plutil", "-lint", path]
  }
}

const configuration = ({ HOME, XDG_CONFIG_HOME }: Service["env"]): string =>
  XDG_CONFIG_HOME?.startsWith("/") === true ? XDG_CONFIG_HOME : join(HOME ?? "", ".config")

/** A service manager does not know the environment of a shell: what says where the files are goes along. */
const placesOf = (env: Service["env"], home: Home): ReadonlyArray<readonly [name: string, value: string]> =>
  ["VALETKEY_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].flatMap((name) => {
    const value = env[name] ?? ""
    return value === "" ? [] : [[name, name === "VALETKEY_HOME" ? home.data : value] as const]
  })

/** A word of a unit file: quotes and specifiers lose their meaning. */
const quoted = (text: string): string => `"${text.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%")}"`

type Value = boolean | number | string | ReadonlyArray<string> | { readonly [key: string]: Value }

const element = (value: Value, indent: string): string => {
  const inner = `${indent}  `
  if (typeof value === "boolean") return `${indent}<${value}/>`
  if (typeof value === "number") return `${indent}<integer>${value}</integer>`
  if (typeof value === "string") return `${indent}<string>${escape(value)}</string>`
  if (Array.isArray(value)) {
    return `${indent}<array>\n${value.map((one) => element(one, inner)).join("\n")}\n${indent}</array>`
  }
  const entries = Object.entries(value).map(([key, one]) =>
    `${inner}<key>${escape(key)}</key>\n${element(one, inner)}\n`
  )
  return entries.length === 0 ? `${indent}<dict/>` : `${indent}<dict>\n${entries.join("")}${indent}</dict>`
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
