import { Duration } from "effect"
import type { Sql } from "../Database.ts"

/** The time of the database's clock that is so far ahead. */
export const after = (sql: Sql, duration: Duration.Duration) =>
  sql`clock_timestamp() + ${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`

/** The time of the database's clock that is so long ago. */
export const before = (sql: Sql, duration: Duration.Duration) =>
  sql`clock_timestamp() - ${Duration.toMillis(duration)}::float8 * interval '1 millisecond'`
