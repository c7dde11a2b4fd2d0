import { marked, refuse } from "./tenantMigration.ts"

/** What processes agree on before they ask a token endpoint, and whether credentials were obtained because others were refused. */
export const pacing = `
  ALTER TABLE connections ADD COLUMN forced INTEGER NOT NULL DEFAULT 0;

  CREATE TABLE token_endpoints (
    tenant TEXT NOT NULL,
    token_endpoint TEXT NOT NULL,
    failures INTEGER NOT NULL,
    trips INTEGER NOT NULL,
    open_until INTEGER NOT NULL,
    probe_until INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    PRIMARY KEY (tenant, token_endpoint)
  ) STRICT;
  ${refuse("token_endpoints_of_deleted", "INSERT ON token_endpoints", marked)}

  CREATE TABLE redemption_slots (
    provider TEXT NOT NULL,
    slot INTEGER NOT NULL,
    holder TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    PRIMARY KEY (provider, slot)
  ) STRICT;
`
