/** How long a connection lasts, and when it is looked at next: those that are there, at once. */
export const renewalPlans = `
  ALTER TABLE connections ADD COLUMN granted_at INTEGER;
  ALTER TABLE connections ADD COLUMN refresh_expires_at INTEGER;
  ALTER TABLE connections ADD COLUMN renew_at INTEGER;
  ALTER TABLE connections ADD COLUMN ending_told INTEGER;
  UPDATE connections SET renew_at = 0 WHERE status = 'active';
  CREATE INDEX connections_renewed ON connections (renew_at) WHERE status = 'active' AND renew_at IS NOT NULL;
`
