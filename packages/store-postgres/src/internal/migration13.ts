import type { Migration } from "../Migrations.ts"

/**
 * Device codes, when each is asked about next, and hand-offs. A replica of the version before leaves the sealed code in a row
 * that it settles, so no constraint forbids that; it polls nothing, and a settled flow is not polled.
 */
export const migration13: Migration = {
  id: 13,
  name: "device_codes",
  statements: [
    `ALTER TABLE flows ADD COLUMN hand_offs integer NOT NULL DEFAULT 0, ADD COLUMN device_code bytea,
      ADD COLUMN poll_at timestamptz, ADD COLUMN poll_interval float8,
      ADD COLUMN poll_failures integer NOT NULL DEFAULT 0, ADD COLUMN poll_doubtful boolean NOT NULL DEFAULT false`,
    `CREATE INDEX flows_polled ON flows (poll_at) WHERE state = 'pending' AND poll_at IS NOT NULL`,
    // A client of the device grant alone has none.
    `ALTER TABLE registrations ALTER COLUMN redirect_uri DROP NOT NULL`
  ]
}
