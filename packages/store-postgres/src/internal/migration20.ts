import type { Migration } from "../Migrations.ts"
import { conflict, refusal } from "./failure.ts"
import { tenantLock } from "./migration9.ts"

/** What a transaction remembers of `flows_of_deleted` while it is set: `*` for nothing yet, or `=` and the tenant. */
export const rememberedTenant = "valetkey.flows_of"

/**
 * The trigger of `flows` asks once for each tenant where a statement with many rows says that it should remember. The lock
 * that it took lasts as long as the setting, which is until the transaction or savepoint ends, so nothing can have changed.
 * Whoever does not say so, as a replica of the version before, has each row asked about.
 */
export const migration20: Migration = {
  id: 20,
  name: "remembered_tenants",
  statements: [
    `CREATE FUNCTION valetkey_refuse_flow_of_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF NOT pg_try_advisory_xact_lock_shared(${tenantLock("NEW.tenant")}) THEN
          RAISE EXCEPTION 'the tenant is being deleted at this moment' USING ERRCODE = '${conflict}';
        END IF;
        IF EXISTS (SELECT FROM tenant_deletions WHERE tenant = NEW.tenant) THEN
          RAISE EXCEPTION 'the tenant is deleted' USING ERRCODE = '${refusal}';
        END IF;
        IF current_setting('${rememberedTenant}', true) <> '' THEN
          PERFORM set_config('${rememberedTenant}', '=' || NEW.tenant, true);
        END IF;
        RETURN NEW;
      END
    $$`,
    `DROP TRIGGER flows_of_deleted ON flows`,
    `CREATE TRIGGER flows_of_deleted BEFORE INSERT ON flows
      FOR EACH ROW WHEN ('=' || NEW.tenant IS DISTINCT FROM current_setting('${rememberedTenant}', true))
      EXECUTE FUNCTION valetkey_refuse_flow_of_deleted()`
  ]
}
