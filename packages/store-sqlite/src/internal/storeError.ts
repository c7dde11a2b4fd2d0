import { StoreError } from "@valetkey/domain/StoreError"

/** A row that this code cannot have written. */
export class CorruptRow extends Error {
  override readonly name = "CorruptRow"
  constructor(options: ErrorOptions) {
    super("A stored row cannot be read", options)
  }
}

/** Tells what a failure of SQLite or of the file system means. */
export const storeError = (operation: string, cause: unknown): StoreError => {
  if (cause instanceof CorruptRow) return new StoreError({ code: "store_corrupt", operation, cause })
  const result = typeof cause === "object" && cause !== null && "errcode" in cause ? Number(cause.errcode) & 0xff : 0
  if (result === sqlite.corrupt || result === sqlite.notADatabase) {
    return new StoreError({ code: "store_corrupt", operation, cause })
  }
  if (operation === "open" && (result === sqlite.busy || result === sqlite.locked)) {
    return new StoreError({ code: "store_locked", operation, cause })
  }
  return new StoreError({ code: "store_unavailable", operation, cause })
}

// https://sqlite.org/rescode.html, the primary codes
const sqlite = { busy: 5, locked: 6, corrupt: 11, notADatabase: 26 }
