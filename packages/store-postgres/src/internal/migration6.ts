import type { Migration } from "../Migrations.ts"

/** The one row that says to which instance the database belongs. */
export const migration6: Migration = {
  id: 6,
  name: "instance",
  statements: [
    `CREATE TABLE instance (
      one boolean PRIMARY KEY CHECK (one),
      id text NOT NULL,
      former text[] NOT NULL DEFAULT '{}',
      taken_over_at timestamptz
    )`
  ]
}
