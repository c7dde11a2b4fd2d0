import type { Migration } from "../Migrations.ts"
import { refuse } from "./migration9.ts"
import { policyOf } from "./rowSecurity.ts"

/** What replicas agree on before they ask a token endpoint, and whether credentials were obtained because others were refused. */
export const migration14: Migration = {
  id: 14,
  name: "pacing",
  statements: [
    `ALTER TABLE connections ADD COLUMN forced boolean NOT NULL DEFAULT false`,

    // Written in outages alone: an endpoint that is well has no row.
    `CREATE TABLE token_endpoints (
      tenant text COLLATE "C" NOT NULL,
      token_endpoint text COLLATE "C" NOT NULL,
      failures integer NOT NULL DEFAULT 0,
      trips integer NOT NULL DEFAULT 0,
      open_until timestamptz,
      probe_until timestamptz,
      not_before timestamptz,
      PRIMARY KEY (tenant, token_endpoint)
    )`,
    refuse("token_endpoints", "marked"),
    ...policyOf("token_endpoints"),

    // Of providers that the operator named, and of no tenant.
    `CREATE TABLE redemption_slots (
      provider text COLLATE "C" NOT NULL,
      slot integer NOT NULL,
      holder text,
      lease_until timestamptz,
      PRIMARY KEY (provider, slot)
    ) WITH (fillfactor = 50)`
  ]
}
