import type { Migration } from "../Migrations.ts"

/**
 * The chain of audit events. Events from before it were not linked by anything, so there is nothing that a verifier could
 * say about them.
 */
export const migration2: Migration = {
  id: 2,
  name: "audit_chain",
  statements: [
    "DROP TABLE audit",

    `CREATE TABLE audit (
      tenant text COLLATE "C" NOT NULL,
      seq bigint NOT NULL,
      at timestamptz NOT NULL,
      subject text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      action text NOT NULL,
      outcome text NOT NULL,
      principal text NOT NULL,
      origin text NOT NULL,
      generation integer,
      fingerprint text,
      count integer,
      previous text NOT NULL,
      hash text NOT NULL,
      PRIMARY KEY (tenant, seq)
    )`,
    "CREATE INDEX audit_at ON audit (at)",

    // The row that a writer holds while it links: one writer of a tenant at a time, on whichever replica.
    `CREATE TABLE audit_heads (
      tenant text COLLATE "C" PRIMARY KEY,
      seq bigint NOT NULL,
      hash text NOT NULL,
      anchor_seq bigint NOT NULL,
      anchor_hash text NOT NULL
    )`
  ]
}
