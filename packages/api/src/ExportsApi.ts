import { passphraseLength } from "@valetkey/domain/ArchiveLimits"
import { Generation } from "@valetkey/domain/Connection"
import { ServerSlug } from "@valetkey/domain/Server"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"

/** Schema for which connections to export, and for whom. Exactly one of `recipient` and `passphrase`. */
export const ExportPayload = Schema.Struct({
  /** An age recipient; its identity opens the archive. */
  recipient: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^age1[a-z0-9]{10,4096}$/, { expected: "an age recipient" }))
  ),
  /** Opens the archive; nobody keeps it. */
  passphrase: Schema.optionalKey(
    Schema.RedactedFromValue(
      Schema.String.check(Schema.isBetweenLength(passphraseLength.minimum, passphraseLength.maximum))
    )
  ),
  /** Names of the servers; default every connection of the caller. */
  servers: Schema.optionalKey(Schema.NonEmptyArray(ServerSlug).check(Schema.isMaxLength(1000)))
}).check(
  Schema.makeFilter(({ passphrase, recipient }) =>
    (passphrase === undefined) !== (recipient === undefined)
      ? undefined
      : { path: ["recipient"], issue: "expected this or passphrase, and not both" }
  )
).annotate({ identifier: "Export" })
export type ExportPayload = typeof ExportPayload.Type

/** Schema for an archive and what is in it. The archive is ciphertext, the rest holds no secret. */
export const ExportView = Schema.Struct({
  /** An age file, base64. */
  archive: Schema.Uint8ArrayFromBase64,
  connections: Schema.Array(Schema.Struct({ server: ServerSlug, generation: Generation })),
  /** What is not in it, and why. */
  left: Schema.Array(Schema.Struct({
    server: ServerSlug,
    reason: Schema.Literals(["needs_reauth", "quarantined", "no_refresh_token", "integrity_error", "proxied"])
  }))
}).annotate({ identifier: "Exported" })
export type ExportView = typeof ExportView.Type

/** Schema for which credentials are kept elsewhere from now on. */
export const ForgetPayload = Schema.Struct({
  /** As the export told it; any other generation is refused. */
  generation: Generation
}).annotate({ identifier: "Forget" })
export type ForgetPayload = typeof ForgetPayload.Type

/** Taking connections elsewhere. */
export class ExportsApi extends group(
  "exports",
  guarded(
    ["connections:export"],
    HttpApiEndpoint.post("seal", "/v1/export", {
      payload: ExportPayload,
      success: ExportView,
      error: problems(404, 409, 413, 422, 503)
    }).annotate(OpenApi.Summary, "An archive of the caller's connections, sealed to a recipient or a passphrase")
  ),
  guarded(
    ["connections:write"],
    HttpApiEndpoint.post("forget", "/v1/connections/:server/forget", {
      params: { server: ServerSlug },
      payload: ForgetPayload,
      success: HttpApiSchema.NoContent,
      error: problems(404, 412, 503)
    }).annotate(OpenApi.Summary, "Delete a connection that is kept elsewhere now, without revoking it")
  )
).annotate(OpenApi.Description, "Taking the caller's connections elsewhere. No answer holds a secret in the clear.") {}
