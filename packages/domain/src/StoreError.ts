import { Schema } from "effect"

/** Error of any store: the operation did not happen as far as the caller can know; reads may be retried, writes are re-read first. */
export class StoreError extends Schema.TaggedError<StoreError>("valetkey/StoreError")("StoreError", {
  code: Schema.Literals(["store_unavailable", "store_corrupt", "store_locked", "tenant_deleted"]),
  /** Name of the port's method, for the log. */
  operation: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    switch (this.code) {
      case "store_unavailable":
        return "The store cannot be reached; check that the database is up, then retry"
      case "store_corrupt":
        return "A stored record cannot be read; restore it from a backup or connect again"
      case "store_locked":
        return "The data directory is in use by another process; stop it or choose another VALETKEY_HOME"
      case "tenant_deleted":
        return "The tenant was deleted, so nothing of it is stored any more; an operator may let its name be used again with valetkey tenants allow"
    }
  }
}
