import { StoreError } from "@valetkey/domain/StoreError"
import { refusal } from "./tenantMigration.ts"

/** A row that this code cannot have written. */
export class CorruptRow extends Error {
  override readonly name = "CorruptRow"
  constructor(options: ErrorOptions) {
    super("A stored row cannot be read", options)
  }
}

/** A file that a later version of this code has written. */
export class NewerSchema extends Error {
  override readonly name = "NewerSchema"
  constructor(found: number, known: number) {
    super(
      `The file has schema version ${found}, this program knows ${known}; run the newer Valetkey or restore a backup`
    )
  }
}

/** Tells what a failure of SQLite or of the file system means. Anything else is a mistake of this code, and is thrown on. */
export const storeError = (operation: string, cause: unknown): StoreError => {
  const code = codeOf(operation, cause)
  if (code === undefined) throw cause
  return new StoreError({ code, operation, cause })
}

// https://sqlite.org/rescode.html: the primary codes, and the extended one of a trigger that refused
const sqlite = { busy: 5, locked: 6, corrupt: 11, notADatabase: 26, constraintTrigger: 1811 }

const codeOf = (operation: string, cause: unknown): StoreError["code"] | undefined => {
  if (cause instanceof CorruptRow) return "store_corrupt"
  if (cause instanceof NewerSchema) return "store_unavailable"
  if (!(cause instanceof Error)) return undefined
  if ("errcode" in cause) {
    if (Number(cause.errcode) === sqlite.constraintTrigger && cause.message === refusal) return "tenant_deleted"
    const primary = Number(cause.errcode) & 0xff
    if (primary === sqlite.corrupt || primary === sqlite.notADatabase) return "store_corrupt"
    const held = primary === sqlite.busy || primary === sqlite.locked
    return held && operation === "open" ? "store_locked" : "store_unavailable"
  }
  // A file operation that failed, or a database that is closed already.
  const isExpected = "errno" in cause || ("code" in cause && cause.code === "ERR_INVALID_STATE")
  return isExpected ? "store_unavailable" : undefined
}
