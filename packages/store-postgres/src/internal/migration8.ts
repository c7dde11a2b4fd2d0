import type { Migration } from "../Migrations.ts"

/** What became of revocations, and what operators' events are about. A receipt is found by its owner alone. */
export const migration8: Migration = {
  id: 8,
  name: "receipts",
  statements: [
    `CREATE TABLE revocation_receipts (
      tenant text COLLATE "C" NOT NULL,
      subject text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      revocation text COLLATE "C" NOT NULL,
      cause text NOT NULL,
      access_token text,
      refresh_token text,
      access_token_expires_at timestamptz,
      attempts integer NOT NULL,
      error text,
      created_at timestamptz NOT NULL,
      next_attempt_at timestamptz,
      settled_at timestamptz,
      PRIMARY KEY (tenant, subject, id),
      CONSTRAINT revocation_receipts_settled CHECK ((settled_at IS NULL) = (next_attempt_at IS NOT NULL))
    )`,
    `CREATE UNIQUE INDEX revocation_receipts_revocation ON revocation_receipts (tenant, revocation)`,
    `CREATE INDEX revocation_receipts_owner ON revocation_receipts (tenant, subject, created_at DESC, id DESC)`,
    `CREATE INDEX revocation_receipts_old ON revocation_receipts (coalesce(settled_at, created_at))`,
    `ALTER TABLE audit ADD COLUMN target text`
  ]
}
