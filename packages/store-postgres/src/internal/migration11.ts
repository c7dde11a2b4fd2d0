import type { Migration } from "../Migrations.ts"

/**
 * Whose credentials a connection holds at the provider. It is sealed for one life of the connection, so it ends with that
 * life, whoever writes: a replica of the version before does not know the column and would leave a former account there.
 */
export const migration11: Migration = {
  id: 11,
  name: "accounts",
  statements: [
    "ALTER TABLE connections ADD COLUMN account bytea",

    `CREATE FUNCTION valetkey_end_account() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.account := NULL;
        RETURN NEW;
      END
    $$`,
    `CREATE TRIGGER connections_account BEFORE UPDATE OF epoch ON connections
      FOR EACH ROW WHEN (NEW.epoch IS DISTINCT FROM OLD.epoch AND NEW.account IS NOT DISTINCT FROM OLD.account)
      EXECUTE FUNCTION valetkey_end_account()`
  ]
}
