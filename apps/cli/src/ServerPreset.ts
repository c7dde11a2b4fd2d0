import type { Expanded } from "@valetkey/providers/Expansion"
import type { Preset } from "@valetkey/providers/Preset"
import { Effect, Result } from "effect"
import { readFileSync } from "node:fs"
import { type CliFailure, failure } from "./CliFailure.ts"
import { plain } from "./Output.ts"

// Presets are read when one is asked for: to load and check them would take longer than most commands do.

/** Every preset that comes with the command. */
export const all: Effect.Effect<ReadonlyArray<Preset>> = Effect.map(
  Effect.promise(() => import("@valetkey/providers/Presets")),
  (presets) => presets.all
)

/** The preset of an id, or of a file, which has a dot or a slash in its name. */
export const find = (wanted: string): Effect.Effect<Preset, CliFailure> =>
  Effect.gen(function*() {
    if (/[/\\]|\.json$/.test(wanted)) return yield* ofFile(wanted)
    const found = (yield* all).find(({ id }) => id === wanted)
    return found ?? (yield* failure(
      "preset_not_found",
      `There is no preset ${wanted}; give the URL of the server, or take one that valetkey servers presets lists`
    ))
  })

/** A preset with its parameters in place, each given as `name=value`. */
export const expand = (wanted: string, set: ReadonlyArray<string>): Effect.Effect<Expanded, CliFailure> =>
  Effect.gen(function*() {
    const preset = yield* find(wanted)
    const pairs = set.map((text) => /^([^=]+)=(.*)$/s.exec(text))
    if (pairs.includes(null)) return yield* failure("usage", "--set takes NAME=VALUE")
    const given = Object.fromEntries(pairs.map((pair) => [pair?.[1], pair?.[2]]))
    const Expansion = yield* Effect.promise(() => import("@valetkey/providers/Expansion"))
    const expanded = Expansion.expand(preset, given)
    if (Result.isSuccess(expanded)) return expanded.success
    const { message, parameter, problem } = expanded.failure
    const flag = problem === "unknown" ? "" : `; give it with --set ${parameter}=VALUE`
    return yield* failure("preset_parameter", `${message}${flag}`, { parameter, problem })
  })

/** Where a client of a provider without registration is sent back to on this machine. The port is outside the range that systems lend. */
const loopbackRedirectUri = (host: string) => `http://${host}:8917/callback`

/** The redirect URI of a preset's client where nobody names one: only on this machine is it known. */
export const usualRedirectUri = ({ registration }: Preset, isLocal: boolean): string | undefined =>
  isLocal && registration.kind === "console" && registration.redirectUris !== "https"
    ? loopbackRedirectUri(registration.redirectUris ?? "127.0.0.1")
    : undefined

/** Says where a client comes from, of a provider that registers none by itself. */
export const refuseWithoutClient = (
  { preset, registrationUrl }: Expanded,
  name: string,
  isLocal: boolean
): Effect.Effect<void, CliFailure> => {
  if (registrationUrl === undefined) return Effect.void
  const redirectUri = usualRedirectUri(preset, isLocal)
  const back = redirectUri !== undefined
    ? `with the redirect URI ${redirectUri}`
    : isLocal
    ? "and connect through a server with VALETKEY_PUBLIC_URL, for it takes https redirect URIs alone"
    : "whose redirect URI this command tells once the server is there"
  return Effect.fail(failure(
    "client_needed",
    `${preset.name} registers no clients by itself. Create one at ${registrationUrl}, ${back}; then: valetkey servers add ${name}${
      name === preset.id ? "" : ` --preset ${preset.id}`
    } --client-id ID --client-secret-stdin < secret`,
    { registration: registrationUrl, redirectUri, documentation: preset.documentation }
  ))
}

/** What a person should know of a provider once it is there. */
export const sentencesOf = ({ note, refreshTokens }: Preset): ReadonlyArray<string> => {
  const { absoluteDays, idleDays, kind } = refreshTokens ?? {}
  return [
    ...(kind === "none" ? ["There are no refresh tokens: when a token ends, the person consents again."] : []),
    ...(idleDays === undefined
      ? []
      : [`A connection that nobody uses for ${idleDays} days must be consented to again.`]),
    ...(absoluteDays === undefined ? [] : [`After ${absoluteDays} days the person consents again in any case.`]),
    ...(note === undefined ? [] : [note])
  ]
}

const ofFile = (file: string): Effect.Effect<Preset, CliFailure> =>
  Effect.gen(function*() {
    const text = yield* Effect.try({
      try: () => readFileSync(file, "utf8"),
      catch: () => failure("preset_not_found", `${plain(file)} cannot be read; check its name and permissions`)
    })
    const PresetLint = yield* Effect.promise(() => import("@valetkey/providers/PresetLint"))
    const read = PresetLint.read({ file, text })
    return Result.isSuccess(read)
      ? read.success
      : yield* failure("preset_invalid", `The preset has mistakes: ${read.failure.map(PresetLint.show).join("; ")}`, {
        mistakes: read.failure
      })
  })
