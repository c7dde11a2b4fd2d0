/** What became of revocations, and what operators' events are about. */
export const receipts = `
  CREATE TABLE revocation_receipts (
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    id TEXT NOT NULL,
    server TEXT NOT NULL,
    revocation TEXT NOT NULL UNIQUE,
    cause TEXT NOT NULL,
    access_token TEXT,
    refresh_token TEXT,
    access_token_expires_at INTEGER,
    attempts INTEGER NOT NULL,
    error TEXT,
    created_at INTEGER NOT NULL,
    next_attempt_at INTEGER,
    settled_at INTEGER,
    PRIMARY KEY (tenant, subject, id),
    CHECK ((settled_at IS NULL) = (next_attempt_at IS NOT NULL))
  ) STRICT;
  CREATE INDEX revocation_receipts_owner ON revocation_receipts (tenant, subject, created_at, id);
  CREATE INDEX revocation_receipts_old ON revocation_receipts (coalesce(settled_at, created_at));
  ALTER TABLE audit ADD COLUMN target TEXT;
`
