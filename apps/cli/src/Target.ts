import { type Home, locate } from "@valetkey/client/Home"
import { Effect, Option, Redacted } from "effect"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import { failure } from "./CliFailure.ts"
import { ensureRunning } from "./LocalServer.ts"
import * as Remote from "./Remote.ts"

/** Flag of every command: the server to ask in place of the local one. */
const ServerFlag = GlobalFlag.Setting("server")({
  flag: Flag.String("server").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription("Ask the server at this URL, with VALETKEY_TOKEN, in place of the local one"),
    Flag.optional
  )
})

/** Flag of every command: what stdout carries. */
const JsonFlag = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Print exactly one JSON document on stdout"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
})

/** Flag of every command: never start the local server. */
const NoStartFlag = GlobalFlag.Setting("no-start")({
  flag: Flag.Boolean("no-start").pipe(
    Flag.withDescription("Never start the local server"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
})

/** The flags that every command takes. */
export const globalFlags = [ServerFlag, JsonFlag, NoStartFlag] as const

/** Where a command finds its server. */
export type Target =
  | { readonly _tag: "remote"; readonly url: string; readonly token: Redacted.Redacted }
  | { readonly _tag: "local"; readonly home: Home; readonly mayStart: boolean }

/** Finds the server: `--server` or VALETKEY_SERVER, else the local one. */
export const resolve = Effect.gen(function*() {
  const url = Option.getOrUndefined(yield* ServerFlag) ?? filled(process.env["VALETKEY_SERVER"])
  if (url === undefined) {
    return {
      _tag: "local",
      home: locate(process.env),
      // With a database configured, the server that this command belongs to is not the local one.
      mayStart: !(yield* NoStartFlag) && filled(process.env["VALETKEY_NO_START"]) === undefined &&
        filled(process.env["DATABASE_URL"]) === undefined
    } as const
  }
  return yield* remoteTarget(url, "--server")
})

/** The server at a URL that a flag names, with the bearer token of the environment. */
export const remoteTarget = Effect.fnUntraced(function*(url: string, flag: string) {
  const parsed = URL.parse(url)
  if (
    parsed === null || (parsed.protocol !== "https:" && parsed.protocol !== "http:") || parsed.username !== "" ||
    parsed.password !== ""
  ) {
    return yield* failure("usage", `${flag} must be an http or https URL without credentials`)
  }
  if (parsed.protocol === "http:" && !isLoopback(parsed.hostname)) {
    return yield* failure("usage", `${flag} must be an https URL: plain http would show the token to the network`)
  }
  const token = filled(process.env["VALETKEY_TOKEN"])
  if (token === undefined) {
    return yield* failure("usage", `${flag} needs a bearer token in the environment variable VALETKEY_TOKEN`)
  }
  return { _tag: "remote", url: parsed.href.replace(/\/+$/, ""), token: Redacted.make(token) } as const
})

/** The server of a command; `start` says whether the command may start the local one. */
export const reach = (options: { readonly start: boolean }) =>
  Effect.gen(function*() {
    const target = yield* resolve
    if (target._tag === "local" && options.start && target.mayStart) yield* ensureRunning(target.home)
    return remoteOf(target)
  })

/** The server at a target. */
export const remoteOf = (target: Target): Remote.Remote =>
  target._tag === "remote" ? Remote.at(target.url, Redacted.value(target.token)) : Remote.local(target.home)

/** Whether a host as a URL spells it is this machine. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "[::1]" || /^127\.[\d.]+$/.test(host)

const filled = (value: string | undefined): string | undefined => value === "" ? undefined : value
