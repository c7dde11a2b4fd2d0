import { ConnectionKey } from "@valetkey/domain/Connection"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Schema } from "effect"

/** What names a connection in every table. */
export type KeyColumns = Pick<ConnectionKey, "tenant" | "subject" | "server">

/** Schemas for what names a connection in every table. */
export const keyColumns = { tenant: TenantId, subject: SubjectId, server: ServerSlug }

/** The key of a row whose columns were tested. */
export const keyOf = ({ server, subject, tenant }: KeyColumns): ConnectionKey =>
  new ConnectionKey({ tenant, subject, server }, { disableChecks: true })

/**
 * Schema for a column that may be null, of a schema that only tests. Rows are read with every token, every signal and every
 * call, and by processes that have hardly run yet. A union with null of each column, or a transformation of each time in
 * place of `Schema.Date`, costs more than the rest of a row.
 */
export const orNull = <E, A extends E>(schema: Schema.Codec<A, E>): Schema.declare<A | null> => {
  const is = Schema.is(schema)
  return Schema.declare((value): value is A | null => value === null || is(value), { expected: "null or its value" })
}
