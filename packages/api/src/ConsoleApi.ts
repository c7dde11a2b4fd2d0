import { CompareCode } from "@valetkey/domain/CompareCode"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant } from "./Text.ts"

/**
 * Schema for a way into the console for the caller's own browser. The URL holds a ticket and is a secret until it is used;
 * the page behind it shows the compare code.
 */
export const ConsoleLinkView = Schema.Struct({
  consoleUrl: Schema.RedactedFromValue(Schema.String),
  /** Show it where the person started: the page must show the same. */
  compareCode: CompareCode,
  expiresAt: Instant
}).annotate({ identifier: "ConsoleLink" })
export type ConsoleLinkView = typeof ConsoleLinkView.Type

/** The way into the pages where a person sees their own connections. */
export class ConsoleApi extends group(
  "console",
  guarded(
    ["connections:read"],
    HttpApiEndpoint.post("open", "/v1/console", {
      success: ConsoleLinkView.pipe(HttpApiSchema.status(201)),
      error: problems(422, 503)
    }).annotate(
      OpenApi.Summary,
      "Make a link that lets one browser in as the caller, with the caller's scopes as far as the console needs them"
    )
  )
).annotate(OpenApi.Description, "The way into the pages where a person sees their own connections.") {}
