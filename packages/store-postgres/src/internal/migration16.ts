import type { Migration } from "../Migrations.ts"

/**
 * What ended lately is found by its time, for all who wait and may have missed a signal. An open flow is its connection's
 * latest, so one unique index keeps the slot.
 */
export const migration16: Migration = {
  id: 16,
  name: "ended_flows",
  statements: [
    `CREATE INDEX flows_settled ON flows (settled_at) WHERE settled_at IS NOT NULL`,
    `DROP INDEX flows_open`
  ]
}
