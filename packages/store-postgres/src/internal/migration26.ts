import type { Migration } from "../Migrations.ts"

/** Where a transaction says of which life the forecast is that it writes: the epoch. */
export const forecastLife = "valetkey.forecast_of"

/**
 * Whoever writes a new life says that its dates are of that life: they may be the same as those of the life before, when the
 * same consent is deposited again. Whoever says nothing, and leaves the date of the consent as it was, is a replica that
 * knows of no dates.
 */
export const migration26: Migration = {
  id: 26,
  name: "forecasts_of_a_life",
  statements: [
    `DROP TRIGGER connections_forecast ON connections`,
    `CREATE TRIGGER connections_forecast BEFORE UPDATE OF epoch ON connections
      FOR EACH ROW WHEN (NEW.epoch IS DISTINCT FROM OLD.epoch AND NEW.granted_at IS NOT DISTINCT FROM OLD.granted_at
        AND NEW.epoch IS DISTINCT FROM current_setting('${forecastLife}', true))
      EXECUTE FUNCTION valetkey_end_forecast()`
  ]
}
