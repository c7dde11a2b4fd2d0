import type { Server } from "@valetkey/domain/Server"
import { Result, Schema } from "effect"
import { placeholder, type Preset } from "./Preset.ts"

/** A server as a preset describes it: what `PUT /v1/servers/{server}` takes, without the client. */
export type Description = Pick<
  typeof Server.Encoded,
  "name" | "resource" | "issuer" | "endpoints" | "scopes" | "quirks" | "refreshTokenIdleLimit" | "refreshTokenLifetime"
>

/** Error of parameters that do not fit a preset. */
export class ParameterError extends Schema.TaggedError<ParameterError>("valetkey/ParameterError")("ParameterError", {
  parameter: Schema.String,
  problem: Schema.Literals(["missing", "unknown", "malformed"]),
  /** What the preset says of it. */
  description: Schema.optionalKey(Schema.String),
  example: Schema.optionalKey(Schema.String)
}) {
  readonly code = "preset_parameter"
  override get message() {
    switch (this.problem) {
      case "missing":
        return `The preset needs ${this.parameter}: ${this.description}, such as ${this.example}`
      case "unknown":
        return `The preset has no parameter ${this.parameter}`
      case "malformed":
        return `${this.parameter} must be a name, a host or host:port, such as ${this.example}`
    }
  }
}

/** A preset with its parameters in place. */
export interface Expanded {
  readonly preset: Preset
  readonly description: Description
  /** Where a person creates a client; absent where the provider registers them by itself. */
  readonly registrationUrl?: string | undefined
}

/** Puts the parameters in their places. A value never changes what a URL is besides. */
export const expand = (
  preset: Preset,
  given: Readonly<Record<string, string>>
): Result.Result<Expanded, ParameterError> => {
  const parameters = preset.parameters ?? {}
  const stranger = Object.keys(given).find((name) => !Object.hasOwn(parameters, name))
  if (stranger !== undefined) return Result.fail(new ParameterError({ parameter: stranger, problem: "unknown" }))
  const values = new Map<string, string>()
  for (const [parameter, { default: usual, description, example }] of Object.entries(parameters)) {
    const value = Object.hasOwn(given, parameter) ? given[parameter] : usual
    if (value === undefined || !isValue.test(value)) {
      const problem = value === undefined ? "missing" : "malformed"
      return Result.fail(new ParameterError({ parameter, problem, description, example }))
    }
    values.set(parameter, value)
  }
  const filled = (template: string) => template.replaceAll(placeholder, (whole, name) => values.get(name) ?? whole)
  const { registration } = preset
  return Result.succeed({
    preset,
    description: describe(preset, filled),
    ...(registration.kind === "console" ? { registrationUrl: filled(registration.url) } : {})
  })
}

const describe = (preset: Preset, filled: (template: string) => string): Description => {
  const { endpoints, issuer, name, refreshTokens: { absoluteDays, idleDays } = {}, resource, scopes } = preset
  return {
    name,
    resource: filled(resource),
    ...(issuer === undefined ? {} : { issuer: filled(issuer) }),
    ...(endpoints === undefined ? {} : {
      endpoints: {
        authorization: filled(endpoints.authorization),
        token: filled(endpoints.token),
        ...(endpoints.revocation === undefined ? {} : { revocation: filled(endpoints.revocation) }),
        ...(endpoints.introspection === undefined ? {} : { introspection: filled(endpoints.introspection) }),
        ...(endpoints.deviceAuthorization === undefined
          ? {}
          : { deviceAuthorization: filled(endpoints.deviceAuthorization) })
      }
    }),
    ...(scopes === undefined ? {} : { scopes }),
    ...(idleDays === undefined ? {} : { refreshTokenIdleLimit: `${idleDays} days` as const }),
    ...(absoluteDays === undefined ? {} : { refreshTokenLifetime: `${absoluteDays} days` as const }),
    quirks: quirksOf(preset)
  }
}

/** A name or host[:port]: nothing that ends a path segment or a host early. */
const isValue = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?::\d{1,5})?$/

/** A refresh token whose second use ends the grant is never sent twice, unless the preset says so itself. */
const quirksOf = ({ quirks = {}, refreshTokens }: Preset) => ({
  ...(refreshTokens?.reuse === "ends_grant" ? { redemptionPolicy: "strict" as const } : {}),
  ...quirks
})
