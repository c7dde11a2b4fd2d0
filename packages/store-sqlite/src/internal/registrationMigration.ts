import { refusal } from "./tenantMigration.ts"

/** Who registers a client right now. */
export const registrationTurns = `
  CREATE TABLE registration_turns (
    tenant TEXT NOT NULL,
    server TEXT NOT NULL,
    issuer TEXT NOT NULL,
    transport TEXT NOT NULL,
    turn TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (tenant, server, issuer, transport)
  ) STRICT;
  CREATE TRIGGER registration_turns_of_deleted BEFORE INSERT ON registration_turns
    WHEN EXISTS (SELECT 1 FROM tenant_deletions WHERE tenant = NEW.tenant)
    BEGIN SELECT RAISE(ABORT, '${refusal}'); END;
`
