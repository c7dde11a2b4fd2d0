import type { Migration } from "../Migrations.ts"

/**
 * How long a connection lasts, and when it is looked at next. A look reads everything anew, so what a replica of the version
 * before writes is at worst looked at once for nothing. What it does not write are the dates of a new consent: those of the
 * life before end with that life. Existing connections are looked at within minutes.
 */
export const migration23: Migration = {
  id: 23,
  name: "renewal_plans",
  statements: [
    `ALTER TABLE connections ADD COLUMN granted_at timestamptz, ADD COLUMN refresh_expires_at timestamptz,
      ADD COLUMN renew_at timestamptz DEFAULT now() + interval '5 minutes', ADD COLUMN ending_told timestamptz`,
    `ALTER TABLE connections ALTER COLUMN renew_at SET DEFAULT clock_timestamp() + interval '1 minute'`,
    `CREATE INDEX connections_renewed ON connections (renew_at) WHERE status = 'active' AND renew_at IS NOT NULL`,

    `CREATE FUNCTION valetkey_end_forecast() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.granted_at := NULL;
        NEW.refresh_expires_at := NULL;
        NEW.ending_told := NULL;
        NEW.renew_at := clock_timestamp() + interval '1 minute';
        RETURN NEW;
      END
    $$`,
    `CREATE TRIGGER connections_forecast BEFORE UPDATE OF epoch ON connections
      FOR EACH ROW WHEN (NEW.epoch IS DISTINCT FROM OLD.epoch AND NEW.granted_at IS NOT DISTINCT FROM OLD.granted_at)
      EXECUTE FUNCTION valetkey_end_forecast()`
  ]
}
