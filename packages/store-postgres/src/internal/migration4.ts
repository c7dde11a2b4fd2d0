import type { Migration } from "../Migrations.ts"

/** API keys. A key is also found by its id alone, because the tenant is known only once the key is. */
export const migration4: Migration = {
  id: 4,
  name: "api_keys",
  statements: [
    `CREATE TABLE api_keys (
      tenant text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      subject text COLLATE "C" NOT NULL,
      name text NOT NULL,
      digest text COLLATE "C" NOT NULL,
      scopes text[] NOT NULL,
      created_at timestamptz NOT NULL,
      expires_at timestamptz NOT NULL,
      revoked_at timestamptz,
      last_used_at timestamptz,
      PRIMARY KEY (tenant, id)
    )`,
    `CREATE UNIQUE INDEX api_keys_id ON api_keys (id)`
  ]
}
