import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant } from "./Text.ts"

/** Schema for whose the database is. While the two ids differ nothing that it holds is used. */
export const InstanceView = Schema.Struct({
  /** The id that the replica that answers is configured with. */
  configured: Schema.String,
  /** The id of the instance that the database belongs to. */
  stored: Schema.String,
  /** When that instance took the database over from another one. */
  takenOverAt: Schema.optionalKey(Instant)
}).annotate({ identifier: "Instance" })
export type InstanceView = typeof InstanceView.Type

/** Schema for the word of an operator who knows that the other instance is gone. */
export const TakeoverPayload = Schema.Struct({
  confirm: Schema.Boolean.check(Schema.makeFilter((confirm) => confirm || "must be true"))
}).annotate({ identifier: "Takeover" })
export type TakeoverPayload = typeof TakeoverPayload.Type

/** Whose the database is, for its operator. */
export class InstanceApi extends group(
  "instance",
  guarded(
    ["operator"],
    HttpApiEndpoint.get("status", "/v1/instance", { success: InstanceView, error: problems(503) })
      .annotate(OpenApi.Summary, "The instance that the database belongs to")
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.post("takeOver", "/v1/instance/takeover", {
      payload: TakeoverPayload,
      success: InstanceView,
      error: problems(503)
    }).annotate(OpenApi.Summary, "Make a copied or restored database this instance's own; idempotent")
  )
).annotate(OpenApi.Description, "The instance guard: a copied database is harmless until somebody takes it over.") {}
