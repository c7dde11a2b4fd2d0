import { refusal } from "./tenantMigration.ts"

/** What providers answered, the way from a connection to its events, and sessions of the console. */
export const consoleSessions = `
  ALTER TABLE audit ADD COLUMN answer TEXT;
  CREATE INDEX audit_history ON audit (tenant, subject, server, seq) WHERE action <> 'token.read';
  CREATE INDEX audit_uses ON audit (tenant, subject, server, seq) WHERE action = 'token.read';

  CREATE TABLE console_sessions (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    scopes TEXT NOT NULL,
    ticket_hash TEXT NOT NULL UNIQUE,
    ticket_until INTEGER NOT NULL,
    session_hash TEXT UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
  ) STRICT;
  CREATE INDEX console_sessions_old ON console_sessions (expires_at);
  CREATE TRIGGER console_sessions_of_deleted BEFORE INSERT ON console_sessions
    WHEN EXISTS (SELECT 1 FROM tenant_deletions WHERE tenant = NEW.tenant)
    BEGIN SELECT RAISE(ABORT, '${refusal}'); END;
`
