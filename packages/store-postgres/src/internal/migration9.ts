import type { Migration } from "../Migrations.ts"
import { conflict, refusal } from "./failure.ts"

/** The lock that a deletion holds alone for a tenant, and whoever writes a row of the tenant shares. */
export const tenantLock = (tenant: string): string => `hashtextextended('valetkey tenant ' || ${tenant}, 0)`

/** A trigger that refuses rows of tenants that are marked for deletion, or gone. */
export const refuse = (table: string, when: "marked" | "gone"): string =>
  `CREATE TRIGGER ${table}_of_deleted BEFORE INSERT ON ${table}
    FOR EACH ROW EXECUTE FUNCTION valetkey_refuse_deleted('${when}')`

/**
 * Tenants that are deleted, and data keys. The triggers refuse a deleted tenant's rows, whoever writes them: a replica of
 * the version before, a flow that ends late. Nobody waits for the lock: who does not get it meets a step of a deletion, and
 * comes again. What a tenant may have is read by a statement of its own, which sees what was committed under the lock.
 */
export const migration9: Migration = {
  id: 9,
  name: "tenants",
  statements: [
    `CREATE TABLE tenant_deletions (
      tenant text COLLATE "C" PRIMARY KEY,
      requested_at timestamptz NOT NULL,
      quiet_at timestamptz NOT NULL,
      deleted_at timestamptz
    )`,
    `CREATE INDEX tenant_deletions_unfinished ON tenant_deletions (requested_at) WHERE deleted_at IS NULL`,

    `CREATE TABLE tenant_allowances (
      tenant text COLLATE "C" PRIMARY KEY,
      allowed_at timestamptz NOT NULL
    )`,

    `CREATE TABLE tenant_keys (
      tenant text COLLATE "C" PRIMARY KEY,
      id bigint NOT NULL,
      data_key bytea NOT NULL,
      created_at timestamptz NOT NULL,
      CONSTRAINT tenant_keys_id CHECK (id BETWEEN 0 AND 4294967295)
    )`,

    `CREATE FUNCTION valetkey_refuse_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF NOT pg_try_advisory_xact_lock_shared(${tenantLock("NEW.tenant")}) THEN
          RAISE EXCEPTION 'the tenant is being deleted at this moment' USING ERRCODE = '${conflict}';
        END IF;
        IF EXISTS (
          SELECT FROM tenant_deletions
          WHERE tenant = NEW.tenant AND (TG_ARGV[0] = 'marked' OR deleted_at IS NOT NULL)
        ) THEN
          RAISE EXCEPTION 'the tenant is deleted' USING ERRCODE = '${refusal}';
        END IF;
        RETURN NEW;
      END
    $$`,

    refuse("flows", "marked"),
    refuse("connections", "marked"),
    `CREATE TRIGGER connections_revived BEFORE UPDATE ON connections
      FOR EACH ROW WHEN (OLD.status IN ('quarantined', 'revoking') AND NEW.status IN ('active', 'needs_reauth'))
      EXECUTE FUNCTION valetkey_refuse_deleted('marked')`,
    refuse("registrations", "marked"),
    refuse("servers", "marked"),
    refuse("api_keys", "marked"),
    refuse("revocations", "gone"),
    refuse("tenant_keys", "gone")
  ]
}
