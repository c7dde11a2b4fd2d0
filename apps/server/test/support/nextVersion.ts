// Loaded before a server that a test starts: makes a later version of it, whose schema has one more migration.
import { all, type Migration } from "@valetkey/store-postgres/Migrations"

const steps = all as Array<Migration>

// It adds, as each of them does, and what an older version writes stays good.
steps.push({
  id: 9999,
  name: "next_version",
  statements: [
    "ALTER TABLE connections ADD COLUMN next_note text NOT NULL DEFAULT 'none'",
    "ALTER TABLE flows ADD COLUMN next_count integer",
    "CREATE INDEX connections_next_note ON connections (tenant, next_note)",
    "CREATE TABLE next_notes (tenant text NOT NULL, note text NOT NULL, PRIMARY KEY (tenant, note))"
  ]
})
