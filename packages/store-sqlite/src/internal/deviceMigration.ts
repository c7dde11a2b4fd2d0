/** Device codes, when each is asked about next, and hand-offs. */
export const deviceCodes = `
  ALTER TABLE flows ADD COLUMN hand_offs INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE flows ADD COLUMN device_code BLOB;
  ALTER TABLE flows ADD COLUMN poll_at INTEGER;
  ALTER TABLE flows ADD COLUMN poll_interval INTEGER;
  ALTER TABLE flows ADD COLUMN poll_failures INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE flows ADD COLUMN poll_doubtful INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX flows_polled ON flows (poll_at) WHERE state = 'pending' AND poll_at IS NOT NULL;
`
