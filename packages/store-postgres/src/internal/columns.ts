import { Sealed } from "@valetkey/domain/Sealed"
import { Schema } from "effect"

// Rows of connections and flows are read with every token and every signal, and by a process that has hardly run yet. What
// stands here is one test for each column; a union with null or a transformation costs more than the rest of the row.

const isTime = (value: unknown): value is Date => value instanceof Date && !Number.isNaN(value.getTime())

/** Schema for a column of time, as the driver reads it: `DateTime.fromDateUnsafe` makes the time of it. */
export const Time = Schema.declare(isTime)

/** The same of a column that may be null. */
export const OptionalTime = Schema.declare((value): value is Date | null => value === null || isTime(value))

const isSealed = Schema.is(Sealed)

/** Schema for a column with an envelope or null. */
export const OptionalSealed = Schema.declare((value): value is Sealed | null => value === null || isSealed(value))
