import type { Migration } from "../Migrations.ts"
import { policyOf } from "./rowSecurity.ts"

/**
 * Row-level security as a second line: a role that does not own the tables sees the rows of the tenant that it names. The
 * owner is not subject to it, so an installation that runs as the owner stays as it was.
 */
export const migration10: Migration = {
  id: 10,
  name: "row_security",
  statements: [
    "flows",
    "connections",
    "revocations",
    "registrations",
    "servers",
    "audit",
    "audit_heads",
    "api_keys",
    "revocation_receipts",
    "tenant_deletions",
    "tenant_allowances",
    "tenant_keys"
  ].flatMap(policyOf)
}
