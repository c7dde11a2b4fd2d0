import type { Migration } from "../Migrations.ts"

/** The root keys of the installation: which there are and what each may do. They belong to no tenant. */
export const migration3: Migration = {
  id: 3,
  name: "root_keys",
  statements: [
    `CREATE TABLE root_keys (
      id bigint PRIMARY KEY,
      check_value text COLLATE "C" NOT NULL,
      state text NOT NULL,
      first_seen_at timestamptz NOT NULL,
      demoted_at timestamptz,
      CONSTRAINT root_keys_id CHECK (id BETWEEN 0 AND 4294967295),
      CONSTRAINT root_keys_state CHECK (state IN ('primary', 'active', 'retired'))
    )`,
    `CREATE UNIQUE INDEX root_keys_primary ON root_keys (state) WHERE state = 'primary'`
  ]
}
