import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as ServerProbe from "@valetkey/oauth/ServerProbe"
import type { Preset } from "@valetkey/providers/Preset"
import { Effect, Result } from "effect"
import { type CliFailure, failure } from "./CliFailure.ts"
import { plain, table } from "./Output.ts"
import { slugOf } from "./Words.ts"

/** Asks the server, from here and through the guarded client, under the rules of a server on this machine. */
export const probed = (text: string): Effect.Effect<ServerProbe.ProbeReport, CliFailure> =>
  Effect.gen(function*() {
    const url = URL.parse(text)
    if (
      url === null || (url.protocol !== "https:" && url.protocol !== "http:") || url.username !== "" ||
      url.password !== "" || url.hash !== ""
    ) {
      return yield* failure("usage", "probe takes an absolute http or https URL without credentials and fragment")
    }
    const allow = AddressPolicy.parseEndpoints(process.env["VALETKEY_ALLOW_EGRESS"] ?? "")
    if (Result.isFailure(allow)) return yield* failure("usage", `VALETKEY_ALLOW_EGRESS: ${allow.failure.message}`)
    return yield* ServerProbe.probe(url.href).pipe(
      Effect.provide(Egress.layer({ policy: AddressPolicy.local({ allow: allow.success }) }))
    )
  })

/** What `--json` has of a report. */
export const document = (report: ServerProbe.ProbeReport): Readonly<Record<string, unknown>> => {
  const { asked, failure, findings, issuer, metadata, resource, url } = report
  const drafted = draft(report)
  return {
    url,
    ...(resource === undefined ? {} : { resource }),
    ...(issuer === undefined ? {} : { issuer }),
    ...(failure === undefined ? {} : { connect: failure }),
    findings,
    ...(metadata === undefined ? {} : { metadata }),
    ...(drafted === undefined ? {} : { draft: drafted }),
    asked
  }
}

const marks = { ok: "ok", warn: "note", fail: "FAIL" } as const
const persons = { you: "you", operator: "the authorization server's operator" } as const

/** A report as a person reads it. Everything in it is somebody else's text. */
export const text = (report: ServerProbe.ProbeReport): string => {
  const drafted = draft(report)
  return [
    table(report.findings.map(({ found, state, subject }) => [marks[state], subject, plain(found)])),
    ...report.findings.flatMap(({ subject, todo, who }) =>
      todo === undefined ? [] : [`${subject}, ${who === undefined ? "nobody" : persons[who]}: ${plain(todo)}`]
    ),
    "",
    ...report.asked.map(({ answer, method, url }) => `${method} ${plain(url)}: ${answer}`),
    ...(drafted === undefined
      ? []
      : ["", "A draft for `valetkey servers add --preset FILE`, to be completed from the documentation:", drafted])
  ].map((part) => typeof part === "string" ? part : plainJson(part)).join("\n")
}

/** JSON whose strings hold nothing that a terminal obeys. */
const plainJson = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) => typeof member === "string" ? plain(member) : member, 2)

/**
 * A preset of what the metadata tells. Whether refresh tokens rotate no metadata says, and it is left out; nor where a
 * person creates a client, for which the issuer stands.
 */
const draft = ({ documentation, failure, metadata, url }: ServerProbe.ProbeReport): Preset | undefined => {
  if (metadata === undefined) return undefined
  const { authMethods, issuer, readsClientMetadata, registrationEndpoint, resource, scopes } = metadata
  const methods = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"] as const
  const isDynamic = registrationEndpoint !== undefined || readsClientMetadata === true
  return {
    id: slugOf(new URL(url)) as Preset["id"],
    name: new URL(url).hostname,
    documentation: documentation ?? issuer,
    resource,
    issuer,
    ...(scopes === undefined ? {} : { scopes: scopes.slice(0, 100) }),
    registration: isDynamic ? { kind: "dynamic" } : { kind: "console", url: issuer },
    authMethod: isDynamic ? "none" : methods.find((method) => authMethods.includes(method)) ?? "client_secret_basic",
    ...(failure === "pkce_unsupported" ? { quirks: { assumePkceSupport: true } } : {})
  }
}
