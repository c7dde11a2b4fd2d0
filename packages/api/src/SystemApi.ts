import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { group, open } from "./Policy.ts"

/** Schema for one condition of being ready. */
export const ReadinessCheck = Schema.Struct({
  name: Schema.String,
  ok: Schema.Boolean,
  reason: Schema.String
}).annotate({ identifier: "ReadinessCheck" })
export type ReadinessCheck = typeof ReadinessCheck.Type

const Ready = Schema.Struct({ ready: Schema.Literal(true), checks: Schema.Array(ReadinessCheck) })
const NotReady = Schema.Struct({ ready: Schema.Literal(false), checks: Schema.Array(ReadinessCheck) })

/** What a supervisor asks. */
export class SystemApi extends group(
  "system",
  open(
    HttpApiEndpoint.get("live", "/livez", { success: Schema.Struct({ live: Schema.Literal(true) }) })
      .annotate(OpenApi.Summary, "The process answers")
  ),
  open(
    HttpApiEndpoint.get("ready", "/readyz", { success: [Ready, NotReady.pipe(HttpApiSchema.status(503))] })
      .annotate(OpenApi.Summary, "The process can do its work; each condition with a reason")
  )
).annotate(OpenApi.Description, "What a supervisor asks.") {}
