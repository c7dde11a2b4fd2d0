import type { Preset } from "@valetkey/providers/Preset"
import { Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { Output, table } from "./Output.ts"
import { all, find, sentencesOf } from "./ServerPreset.ts"
import { formatScopes } from "./Words.ts"

/** `valetkey servers presets`: the providers that a server can be added from. */
export const ServerPresets = Command.make("presets", {
  preset: Argument.String("preset").pipe(
    Argument.withDescription("One preset in full, by its name or from a file"),
    Argument.optional
  )
}, ({ preset }) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (Option.isSome(preset)) {
      const found = yield* find(preset.value)
      return yield* output.result({ ok: true, preset: found }, describe(found))
    }
    const presets = yield* all
    yield* output.result(
      { ok: true, presets },
      table([
        ["PRESET", "PROVIDER", "CLIENT", "PARAMETERS"],
        ...presets.map(({ id, name, parameters = {}, registration }) => [
          id,
          name,
          registration.kind === "dynamic" ? "registered on first use" : "registered by hand",
          Object.keys(parameters).join(" ")
        ])
      ])
    )
  })).pipe(
    Command.withDescription("List the providers that a server can be added from"),
    Command.withExamples([
      { command: "valetkey servers presets", description: "Each with what adding it takes" },
      { command: "valetkey servers presets gitlab", description: "One in full: endpoints, scopes, refresh tokens" }
    ])
  )

const describe = (preset: Preset): string => {
  const { authMethod, documentation, endpoints, id, issuer, name, parameters = {}, registration, resource } = preset
  return [
    table([
      ["preset", id],
      ["provider", name],
      ["resource", resource],
      ["issuer", issuer ?? "-"],
      ["authorization", endpoints?.authorization ?? "discovered"],
      ["token", endpoints?.token ?? "discovered"],
      ["revocation", endpoints === undefined ? "discovered" : endpoints.revocation ?? "-"],
      ...Object.entries(parameters).map(([parameter, { default: usual, description, example }]) => [
        `--set ${parameter}=`,
        `${description}, such as ${example}${usual === undefined ? "" : `; ${usual} by default`}`
      ]),
      ["client", registration.kind === "dynamic" ? "registered on first use" : registration.url],
      ["secret", authMethod],
      ["scopes", formatScopes(preset.scopes)],
      ["refresh tokens", preset.refreshTokens?.kind ?? "not documented"],
      ["documentation", documentation],
      ["compared with it", preset.verified ?? "on no day that was written down"]
    ]),
    ...sentencesOf(preset)
  ].join("\n")
}
