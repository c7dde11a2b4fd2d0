/**
 * The chain of audit events. Events from before it were not linked by anything, so there is nothing that a verifier could
 * say about them.
 */
export const auditChain = `
  DROP TABLE audit;
  CREATE TABLE audit (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    subject TEXT NOT NULL,
    server TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    principal TEXT NOT NULL,
    origin TEXT NOT NULL,
    generation INTEGER,
    fingerprint TEXT,
    count INTEGER,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
  ) STRICT;
  CREATE INDEX audit_at ON audit (at);
  CREATE TABLE audit_heads (
    tenant TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    anchor_seq INTEGER NOT NULL,
    anchor_hash TEXT NOT NULL
  ) STRICT;
`
