import { ownedParameters } from "@valetkey/domain/Server"
import { Result, Schema, SchemaIssue } from "effect"
import * as Located from "./internal/located.ts"
import { placeholder, Preset } from "./Preset.ts"

/** One mistake of a preset, where it stands. */
export interface Mistake {
  readonly file: string
  /** Counted from one. */
  readonly line: number
  /** The path of the field, such as `endpoints.token`; empty for the file as a whole. */
  readonly field: string
  readonly message: string
}

/** A file with a preset. */
export interface Source {
  readonly file: string
  readonly text: string
}

/** What a file holds: a preset, or what is wrong with it. */
export const read = (source: Source): Result.Result<Preset, ReadonlyArray<Mistake>> => {
  const located = Located.parse(source.text)
  const mistakeAt = (path: Located.Path, message: string): Mistake => ({
    file: source.file,
    line: located.lineOf(path),
    field: path.join("."),
    message
  })
  const broken = [
    ...located.errors.map(({ line, message }) => ({ file: source.file, line, field: "", message })),
    ...located.repeated.map(({ line, path }) => ({ ...mistakeAt(path, "stands there twice"), line }))
  ]
  if (broken.length > 0) return Result.fail(broken)
  const decoded = decode(located.value, { errors: "all", onExcessProperty: "error" })
  if (Result.isFailure(decoded)) {
    return Result.fail(
      format(decoded.failure.issue).issues.map(({ message, path = [] }) =>
        mistakeAt(
          path.map((part) => typeof part === "object" ? String(part.key) : String(part)),
          message === "Expected no excess property" ? "is not a field of a preset" : message
        )
      )
    )
  }
  const mistakes = rules.flatMap((rule) => rule(decoded.success)).map(({ message, path }) => mistakeAt(path, message))
  return mistakes.length > 0 ? Result.fail(mistakes) : Result.succeed(decoded.success)
}

/** Checks the files of a folder by themselves and against each other; each is called after its preset. */
export const lint = (sources: ReadonlyArray<Source>): ReadonlyArray<Mistake> => {
  const seen = new Map<string, string>()
  return sources.flatMap((source) => {
    const preset = read(source)
    if (Result.isFailure(preset)) return preset.failure
    const { id } = preset.success
    const first = seen.get(id)
    seen.set(id, first ?? source.file)
    const messages = [
      ...(first === undefined ? [] : [`is taken by ${first}`]),
      ...(source.file.split(/[/\\]/).at(-1) === `${id}.json` ? [] : [`belongs in ${id}.json`])
    ]
    const line = Located.parse(source.text).lineOf(["id"])
    return messages.map((message) => ({ file: source.file, line, field: "id", message }))
  })
}

/** A mistake in one line. */
export const show = ({ field, file, line, message }: Mistake): string =>
  `${file}:${line}  ${field === "" ? "" : `${field}: `}${message}`

const decode = Schema.decodeUnknownResult(Preset)

// What was found is left out: a file that somebody mistook for a preset may hold a secret.
const format = SchemaIssue.makeFormatterStandardSchemaV1()

interface Finding {
  readonly path: Located.Path
  readonly message: string
}

type Rule = (preset: Preset) => ReadonlyArray<Finding>

const endpointsOrIssuer: Rule = ({ endpoints, issuer, registration, scopes = [] }) => {
  // Who registers clients by itself is found from the resource, too.
  if (endpoints === undefined && issuer === undefined && registration.kind !== "dynamic") {
    return [{ path: [], message: "expected endpoints, or an issuer whose metadata names them" }]
  }
  return endpoints !== undefined && issuer !== undefined && !scopes.includes("openid")
    ? [{
      path: ["issuer"],
      message: "beside endpoints an issuer is for ID tokens alone, and no scope asks for one; give one of the two"
    }]
    : []
}

const wholeScopes: Rule = ({ quirks, scopes = [] }) =>
  scopes.flatMap((scope, index) => [
    ...(scope.includes(",") && quirks?.scopeSeparator === "comma" || /,[a-z]/i.test(scope)
      ? [{ path: ["scopes", index], message: "has a separator in it; each scope is an entry of its own" }]
      : []),
    ...(scopes.indexOf(scope) < index ? [{ path: ["scopes", index], message: "stands there twice" }] : [])
  ])

const ownParameters: Rule = ({ quirks }) =>
  Object.keys(quirks?.authorizationParameters ?? {}).filter((name) => ownedParameters.includes(name)).map((name) => ({
    path: ["quirks", "authorizationParameters", name],
    message: "is Valetkey's own and would never be sent"
  }))

const ownScopeParameter: Rule = ({ quirks }) =>
  quirks?.scopeParameter !== undefined && ownedParameters.includes(quirks.scopeParameter)
    ? [{ path: ["quirks", "scopeParameter"], message: "is Valetkey's own; leave it out where it is `scope`" }]
    : []

const placeholders: Rule = ({ endpoints, issuer, parameters = {}, registration, resource }) => {
  const templates: ReadonlyArray<readonly [Located.Path, string | undefined]> = [
    [["resource"], resource],
    [["issuer"], issuer],
    ...Object.entries(endpoints ?? {}).map(([name, url]) => [["endpoints", name], url] as const),
    ...(registration.kind === "console" ? [[["registration", "url"], registration.url] as const] : [])
  ]
  const used = templates.flatMap(([path, template = ""]) =>
    [...template.matchAll(placeholder)].map(([, name = ""]) => ({ path, name }))
  )
  return [
    ...used.filter(({ name }) => !Object.hasOwn(parameters, name)).map(({ name, path }) => ({
      path,
      message: `{${name}} is not among the parameters`
    })),
    ...Object.keys(parameters).filter((name) => !used.some((one) => one.name === name)).map((name) => ({
      path: ["parameters", name],
      message: "stands in no URL"
    }))
  ]
}

const realDay: Rule = ({ verified }) =>
  verified === undefined || new Date(`${verified}T00:00:00Z`).toJSON()?.startsWith(verified)
    ? []
    : [{ path: ["verified"], message: "expected a day of the calendar" }]

const refreshTokensThatAre: Rule = ({ refreshTokens: { kind, ...rest } = {} }) =>
  kind === "none" && Object.keys(rest).length > 0
    ? [{ path: ["refreshTokens"], message: "says how refresh tokens live, and that there are none" }]
    : []

const revocationThere: Rule = ({ endpoints, quirks }) =>
  quirks?.tokenDialect?.revocation === "bearer" && endpoints !== undefined && endpoints.revocation === undefined
    ? [{ path: ["quirks", "tokenDialect", "revocation"], message: "needs endpoints.revocation" }]
    : []

const rules: ReadonlyArray<Rule> = [
  endpointsOrIssuer,
  wholeScopes,
  ownParameters,
  ownScopeParameter,
  placeholders,
  realDay,
  refreshTokensThatAre,
  revocationThere
]
