import { StoreError } from "@valetkey/domain/StoreError"
import { SqlError } from "effect/sql/SqlError"

/** The SQLSTATE with which the database refuses a row of a tenant that is deleted. */
export const refusal = "VK001"

/** The SQLSTATE of a transaction that met another one and may be made again (`serialization_failure`). */
export const conflict = "40001"

/** What the database said, without its words: those may carry values, hosts and names. */
export class DatabaseFailure extends Error {
  override readonly name = "DatabaseFailure"
  /** SQLSTATE, or the name of a system error. */
  readonly detail: string | undefined
  constructor(kind: string, detail?: string) {
    super(detail === undefined ? kind : `${kind} (${detail})`)
    this.detail = detail
  }
}

/** The port's error for a failure of the database or of a row. */
export const storeError = (operation: string, error: unknown): StoreError => {
  if (error instanceof StoreError) return error
  if (error instanceof SqlError && codeOf(error.reason.cause) === refusal) {
    return new StoreError({ code: "tenant_deleted", operation })
  }
  return error instanceof SqlError
    ? new StoreError({ code: "store_unavailable", operation, cause: databaseFailure(error) })
    : new StoreError({
      code: "store_corrupt",
      operation,
      cause: new DatabaseFailure("a row does not have the expected shape")
    })
}

/**
 * Whether a statement failed because of what a row holds or whose it is, and changed nothing: a tenant that is deleted, a
 * transaction that it met, a value that the database refuses. Its other rows may do well without it.
 */
export const isFaultOfRow = ({ cause, code }: StoreError): boolean =>
  code === "tenant_deleted" ||
  cause instanceof DatabaseFailure && /^(22|23|40)/.test(cause.detail ?? "") && cause.detail !== "40003"

/** The port's error for an operation that the database did not answer in time. */
export const tooLate = (operation: string): StoreError =>
  new StoreError({ code: "store_unavailable", operation, cause: new DatabaseFailure("no answer within the deadline") })

/** The kind of a database failure and its SQLSTATE or system error code. */
export const databaseFailure = ({ reason }: SqlError): DatabaseFailure =>
  new DatabaseFailure(reason._tag, codeOf(reason.cause))

// SQLSTATE (five characters) and errno names are fixed vocabularies; anything else might be a value.
const codeOf = (cause: unknown): string | undefined => {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined
  return typeof code === "string" && /^([0-9A-Z]{5}|E[A-Z0-9_]{2,30})$/.test(code) ? code : undefined
}
