import { Schema } from "effect"

// Rows of connections and flows are read with every token and every signal, and by processes that have hardly run yet. A
// column is one test here; a union with null, or a transformation, of each costs more than the rest of the row.

/** Schema for a column of time as the driver reads it, of which `DateTime.fromDateUnsafe` makes the time. */
export const Time = Schema.declare((value): value is Date => value instanceof Date && !Number.isNaN(value.getTime()))

/** Schema for a column that may be null, of a schema that tests and transforms nothing. */
export const orNull = <A>(schema: Schema.Schema<A>): Schema.declare<A | null> => {
  const is = Schema.is(schema)
  return Schema.declare((value): value is A | null => value === null || is(value))
}
