import { homedir } from "node:os"
import { join, resolve } from "node:path"

/** Where an installation of the local profile keeps its files. */
export interface Home {
  /** The data directory. */
  readonly data: string
  readonly database: string
  readonly spool: string
  /** The configuration directory: what a copy of the data must not carry along. */
  readonly config: string
  readonly keys: string
  readonly instance: string
  /** The directory of what lives as long as one server process. */
  readonly run: string
  readonly socket: string
  readonly token: string
  /** The process that serves, as a number; for a person and for `kill`. */
  readonly pid: string
  readonly log: string
}

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Finds the places from `VALETKEY_HOME`, else from the XDG base directories. Touches nothing. */
export const locate = (env: Environment): Home => {
  const own = filled(env["VALETKEY_HOME"])
  const data = own === undefined ? join(base(env, "XDG_DATA_HOME", ".local/share"), "valetkey") : resolve(own)
  const config = own === undefined ? join(base(env, "XDG_CONFIG_HOME", ".config"), "valetkey") : join(data, "config")
  const run = join(data, "run")
  return {
    data,
    database: join(data, "valetkey.db"),
    spool: join(data, "spool"),
    config,
    keys: join(config, "keys"),
    instance: join(config, "instance"),
    run,
    socket: join(run, "valetkey.sock"),
    token: join(run, "token"),
    pid: join(run, "pid"),
    log: join(run, "serve.log")
  }
}

/** The longest socket path in bytes that every platform takes (`sun_path` of macOS, with its terminator). */
export const maxSocketPath = 103

// The XDG base directory specification says to ignore relative paths.
const base = (env: Environment, name: string, fallback: string): string => {
  const value = filled(env[name])
  return value?.startsWith("/") === true ? value : join(filled(env["HOME"]) ?? homedir(), fallback)
}

const filled = (value: string | undefined): string | undefined => value === "" ? undefined : value

/** Header of every answer over the socket: the version of the program that serves. */
export const versionHeader = "valetkey-version"
