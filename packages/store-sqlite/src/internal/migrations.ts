import { clientDocuments } from "./clientMigration.ts"
import { consoleSessions } from "./consoleMigration.ts"
import { deviceCodes } from "./deviceMigration.ts"
import { auditChain } from "./migration2.ts"
import { pacing } from "./pacingMigration.ts"
import { receipts } from "./receiptMigration.ts"
import { registrationTurns } from "./registrationMigration.ts"
import { renewalPlans } from "./renewalMigration.ts"
import { tenants } from "./tenantMigration.ts"

const credentialColumns = `
  access_token BLOB,
  refresh_token BLOB,
  token_type TEXT NOT NULL,
  scopes TEXT,
  issued_at INTEGER NOT NULL,
  expires_at INTEGER
`

/**
 * The schema of the store, one entry per version; an entry that was released never changes. Times are milliseconds of
 * the epoch. Keys begin with the tenant; a flow is also found by its id or its state alone, because a callback knows no
 * tenant, and those are unique everywhere.
 */
export const storeMigrations: ReadonlyArray<string> = [
  `
  CREATE TABLE flows (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    server TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'awaiting_finalize', 'exchanging', 'completed', 'failed',
      'outcome_unknown', 'cancelled', 'expired', 'superseded')),
    failure TEXT,
    transport TEXT NOT NULL,
    confirmation TEXT NOT NULL,
    snapshot TEXT,
    grant_json TEXT,
    state_hash TEXT,
    binding_hash TEXT,
    context TEXT,
    code_verifier BLOB,
    client_secret BLOB,
    code BLOB,
    fence INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    newest INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER,
    PRIMARY KEY (tenant, id),
    CHECK ((settled_at IS NULL) = (state IN ('pending', 'awaiting_finalize', 'exchanging')))
  ) STRICT;
  CREATE UNIQUE INDEX flows_id ON flows (id);
  CREATE UNIQUE INDEX flows_state ON flows (state_hash) WHERE state_hash IS NOT NULL;
  CREATE UNIQUE INDEX flows_open ON flows (tenant, subject, server)
    WHERE state IN ('pending', 'awaiting_finalize', 'exchanging');
  CREATE UNIQUE INDEX flows_newest ON flows (tenant, subject, server) WHERE newest = 1;
  CREATE INDEX flows_deadline ON flows (expires_at) WHERE state IN ('pending', 'awaiting_finalize');
  CREATE INDEX flows_lease ON flows (lease_until) WHERE state = 'exchanging';
  CREATE INDEX flows_old ON flows (settled_at) WHERE newest = 0;

  CREATE TABLE connections (
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    server TEXT NOT NULL,
    epoch TEXT NOT NULL,
    generation INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'needs_reauth', 'revoking', 'quarantined')),
    reason TEXT,
    grant_json TEXT NOT NULL,
    client_secret BLOB,
    ${credentialColumns},
    result_id TEXT,
    rejected INTEGER NOT NULL DEFAULT 0,
    phase TEXT NOT NULL DEFAULT 'idle' CHECK (phase IN ('idle', 'claimed', 'sent')),
    fence INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, subject, server),
    CHECK ((status = 'needs_reauth') = (reason IS NOT NULL)),
    CHECK ((status = 'revoking') = (access_token IS NULL))
  ) STRICT;

  CREATE TABLE outbox (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    server TEXT NOT NULL,
    grant_json TEXT NOT NULL,
    access_token BLOB,
    access_token_context TEXT,
    refresh_token BLOB,
    refresh_token_context TEXT,
    client_secret BLOB,
    client_secret_context TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
  ) STRICT;
  CREATE INDEX outbox_due ON outbox (due_at);

  CREATE TABLE registrations (
    tenant TEXT NOT NULL,
    server TEXT NOT NULL,
    issuer TEXT NOT NULL,
    transport TEXT NOT NULL,
    client_id TEXT NOT NULL,
    auth_method TEXT NOT NULL,
    client_secret BLOB,
    client_secret_expires_at INTEGER,
    redirect_uri TEXT NOT NULL,
    scopes TEXT NOT NULL,
    PRIMARY KEY (tenant, server, issuer, transport)
  ) STRICT;

  CREATE TABLE servers (
    tenant TEXT NOT NULL,
    slug TEXT NOT NULL,
    description TEXT NOT NULL,
    client_secret BLOB,
    PRIMARY KEY (tenant, slug)
  ) STRICT;

  CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    at INTEGER NOT NULL,
    subject TEXT NOT NULL,
    server TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    generation INTEGER
  ) STRICT;
  CREATE INDEX audit_tenant ON audit (tenant, seq);
  `,
  auditChain,
  `
  CREATE TABLE root_keys (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    check_value TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('primary', 'active', 'retired')),
    first_seen_at INTEGER NOT NULL,
    demoted_at INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX root_keys_primary ON root_keys (state) WHERE state = 'primary';
  `,
  `
  CREATE TABLE api_keys (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_used_at INTEGER,
    PRIMARY KEY (tenant, id)
  ) STRICT;
  `,
  `
  CREATE TABLE instance (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    former TEXT NOT NULL,
    taken_over_at INTEGER
  ) STRICT;
  `,
  `
  ALTER TABLE flows ADD COLUMN ticket_hash TEXT;
  ALTER TABLE flows ADD COLUMN authorization_url BLOB;
  ALTER TABLE flows ADD COLUMN completion_hash TEXT;
  CREATE UNIQUE INDEX flows_ticket ON flows (ticket_hash) WHERE ticket_hash IS NOT NULL;
  `,
  receipts,
  tenants,
  consoleSessions,
  registrationTurns,
  `
  CREATE INDEX flows_settled ON flows (settled_at) WHERE settled_at IS NOT NULL;
  `,
  // Whose credentials a connection holds at the provider.
  "ALTER TABLE connections ADD COLUMN account BLOB;",
  deviceCodes,
  pacing,
  renewalPlans,
  clientDocuments
]

/** The schema of the spool, which is a file of its own: it takes what the store's file cannot. */
export const spoolMigrations: ReadonlyArray<string> = [
  `
  CREATE TABLE spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    server TEXT NOT NULL,
    epoch TEXT NOT NULL,
    redeemed INTEGER NOT NULL,
    ${credentialColumns}
  ) STRICT;
  `,
  // Where late credentials of a connection that ended are revoked.
  `
  ALTER TABLE spool ADD COLUMN grant_json TEXT;
  ALTER TABLE spool ADD COLUMN client_secret BLOB;
  `,
  "ALTER TABLE spool ADD COLUMN refresh_expires_at INTEGER;",
  "CREATE INDEX spool_of_connection ON spool (tenant, subject, server);"
]
