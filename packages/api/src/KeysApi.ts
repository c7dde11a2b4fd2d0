import { KeyState } from "@valetkey/domain/KeyRegister"
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { problems } from "./ApiProblem.ts"
import { group, guarded } from "./Policy.ts"
import { Instant } from "./Text.ts"

const KeyId = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffffffff }))

/** Schema for a root key as an operator sees it: never its bytes. */
export const KeyView = Schema.Struct({
  id: KeyId,
  state: KeyState,
  /** Tells whether two processes hold the same key, and nothing else. */
  checkValue: Schema.String,
  firstSeenAt: Instant,
  /** Whether the replica that answers holds the key. */
  held: Schema.Boolean,
  /** How many stored secrets are sealed under it. */
  envelopes: Schema.Natural
}).annotate({ identifier: "RootKey" })
export type KeyView = typeof KeyView.Type

/** Schema for the root keys of an installation. */
export const KeysView = Schema.Struct({
  keys: Schema.Array(KeyView),
  /** How many stored secrets are sealed under keys that nobody has ever seen here. */
  unknown: Schema.Natural
}).annotate({ identifier: "RootKeys" })
export type KeysView = typeof KeysView.Type

/** Schema for what one call sealed anew. */
export const RewrapView = Schema.Struct({
  /** Rows that are under the primary key now. */
  rewrapped: Schema.Natural,
  /** Rows that were written by somebody else meanwhile. */
  moved: Schema.Natural,
  /** Rows that do not open; they stay as they are. */
  failed: Schema.Natural,
  /** False while there may be more: call again. */
  done: Schema.Boolean
}).annotate({ identifier: "Rewrap" })
export type RewrapView = typeof RewrapView.Type

/** Schema for a key that was made. */
export const AddedKeyView = Schema.Struct({
  id: KeyId,
  /** What the configuration of every replica has to be given before the key opens; absent where it opens already. */
  entry: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "AddedRootKey" })
export type AddedKeyView = typeof AddedKeyView.Type

const params = { id: KeyId }

/** The root keys of the installation, for its operator. */
export class KeysApi extends group(
  "keys",
  guarded(
    ["operator"],
    HttpApiEndpoint.get("status", "/v1/keys", { success: KeysView, error: problems(503) })
      .annotate(OpenApi.Summary, "The root keys, and how much is sealed under each")
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.post("add", "/v1/keys", {
      success: AddedKeyView.pipe(HttpApiSchema.status(201)),
      error: problems(409, 503)
    }).annotate(
      OpenApi.Summary,
      "Make a key that opens and does not seal yet, or the entry to configure where a key service wraps the keys"
    )
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.post("rewrap", "/v1/keys/rewrap", { success: RewrapView, error: problems(503) })
      .annotate(OpenApi.Summary, "Seal what older keys sealed under the primary one, for about two seconds")
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.post("promote", "/v1/keys/:id/promote", {
      params,
      success: HttpApiSchema.NoContent,
      error: problems(404, 409, 503)
    }).annotate(OpenApi.Summary, "Make a key the one that seals, on every replica; idempotent")
  ),
  guarded(
    ["operator"],
    HttpApiEndpoint.post("retire", "/v1/keys/:id/retire", {
      params,
      success: HttpApiSchema.NoContent,
      error: problems(404, 409, 503)
    }).annotate(OpenApi.Summary, "Make a key open nothing any more; refused while anything is sealed under it")
  )
).annotate(OpenApi.Description, "The root keys of the installation.") {}
