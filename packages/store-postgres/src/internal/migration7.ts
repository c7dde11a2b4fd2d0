import type { Migration } from "../Migrations.ts"

/**
 * Connect tickets and completion codes. A replica of the version before does not know the columns and leaves the sealed
 * URL in a row that it settles, so no constraint forbids that.
 */
export const migration7: Migration = {
  id: 7,
  name: "connect_tickets",
  statements: [
    `ALTER TABLE flows ADD COLUMN ticket_hash text COLLATE "C", ADD COLUMN authorization_url bytea,
      ADD COLUMN completion_hash text COLLATE "C"`,
    `CREATE UNIQUE INDEX flows_ticket_hash ON flows (ticket_hash) WHERE ticket_hash IS NOT NULL`
  ]
}
