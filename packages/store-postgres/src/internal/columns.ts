import { ConnectionKey } from "@valetkey/domain/Connection"
import { Schema } from "effect"

/**
 * Schema for a column that may be null, of a schema that only tests. Rows are read with every token, every signal and every
 * call, and by processes that have hardly run yet. A union with null of each column, or a transformation of each time in
 * place of `Schema.Date`, costs more than the rest of a row.
 */
export const orNull = <E, A extends E>(schema: Schema.Codec<A, E>): Schema.declare<A | null> => {
  const is = Schema.is(schema)
  return Schema.declare((value): value is A | null => value === null || is(value), { expected: "null or its value" })
}

/** The key of a row whose columns were tested. */
export const keyOf = (
  { server, subject, tenant }: Pick<ConnectionKey, "server" | "subject" | "tenant">
): ConnectionKey => new ConnectionKey({ tenant, subject, server }, { disableChecks: true })
