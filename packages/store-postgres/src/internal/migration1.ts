import type { Migration } from "../Migrations.ts"

/** The tables of every port. */
export const migration1: Migration = {
  id: 1,
  name: "tables",
  statements: [
    `CREATE TABLE flows (
      tenant text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      subject text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      state text NOT NULL DEFAULT 'pending',
      failure text,
      transport text NOT NULL,
      confirmation text NOT NULL,
      latest boolean NOT NULL DEFAULT true,
      fence integer NOT NULL DEFAULT 0,
      lease_until timestamptz,
      snapshot jsonb,
      "grant" jsonb,
      context text,
      state_hash text COLLATE "C",
      binding_hash text COLLATE "C",
      code_verifier bytea,
      client_secret bytea,
      authorization_code bytea,
      created_at timestamptz NOT NULL,
      expires_at timestamptz NOT NULL,
      settled_at timestamptz,
      PRIMARY KEY (tenant, id),
      CONSTRAINT flows_state CHECK (state IN ('pending', 'awaiting_finalize', 'exchanging', 'completed', 'failed',
        'outcome_unknown', 'cancelled', 'expired', 'superseded')),
      CONSTRAINT flows_failure CHECK ((state = 'failed') = (failure IS NOT NULL)),
      CONSTRAINT flows_settled CHECK
        ((settled_at IS NULL) = (state IN ('pending', 'awaiting_finalize', 'exchanging'))),
      CONSTRAINT flows_open_is_latest CHECK (latest OR settled_at IS NOT NULL),
      CONSTRAINT flows_lease CHECK ((state = 'exchanging') = (lease_until IS NOT NULL)),
      CONSTRAINT flows_settled_without_secrets CHECK (settled_at IS NULL OR
        (code_verifier IS NULL AND client_secret IS NULL AND authorization_code IS NULL))
    ) WITH (fillfactor = 80)`,
    `CREATE UNIQUE INDEX flows_id ON flows (id)`,
    `CREATE UNIQUE INDEX flows_state_hash ON flows (state_hash)`,
    `CREATE UNIQUE INDEX flows_open ON flows (tenant, subject, server)
      WHERE state IN ('pending', 'awaiting_finalize', 'exchanging')`,
    `CREATE UNIQUE INDEX flows_latest ON flows (tenant, subject, server) WHERE latest`,
    // The sweeper alone looks across tenants, and only at what is due.
    `CREATE INDEX flows_expiring ON flows (expires_at) WHERE state IN ('pending', 'awaiting_finalize')`,
    `CREATE INDEX flows_leased ON flows (lease_until) WHERE state = 'exchanging'`,
    `CREATE INDEX flows_removable ON flows (settled_at) WHERE NOT latest`,

    `CREATE TABLE connections (
      tenant text COLLATE "C" NOT NULL,
      subject text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      epoch text COLLATE "C" NOT NULL,
      generation integer NOT NULL,
      status text NOT NULL DEFAULT 'active',
      reauth_reason text,
      phase text NOT NULL DEFAULT 'idle',
      fence integer NOT NULL DEFAULT 0,
      attempts integer NOT NULL DEFAULT 0,
      lease_until timestamptz,
      not_before timestamptz,
      rejected_generation integer,
      result_id text,
      "grant" jsonb NOT NULL,
      client_secret bytea,
      access_token bytea,
      refresh_token bytea,
      token_type text NOT NULL,
      scopes text[],
      issued_at timestamptz NOT NULL,
      expires_at timestamptz,
      created_at timestamptz NOT NULL,
      updated_at timestamptz NOT NULL,
      PRIMARY KEY (tenant, subject, server),
      CONSTRAINT connections_generation CHECK (generation >= 1),
      CONSTRAINT connections_status CHECK (status IN ('active', 'needs_reauth', 'revoking', 'quarantined')),
      CONSTRAINT connections_reauth_reason CHECK ((status = 'needs_reauth') = (reauth_reason IS NOT NULL)),
      CONSTRAINT connections_phase CHECK (phase IN ('idle', 'claimed', 'sent')),
      CONSTRAINT connections_lease CHECK ((phase = 'idle') = (lease_until IS NULL)),
      CONSTRAINT connections_grant CHECK
        ("grant" ->> 'tokenEndpoint' IS NOT NULL AND "grant" ->> 'clientId' IS NOT NULL),
      CONSTRAINT connections_access_token CHECK ((status = 'revoking') = (access_token IS NULL)),
      CONSTRAINT connections_revoking_without_secrets CHECK
        (status <> 'revoking' OR (refresh_token IS NULL AND client_secret IS NULL))
    ) WITH (fillfactor = 80)`,

    `CREATE TABLE revocations (
      tenant text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      subject text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      "grant" jsonb NOT NULL,
      access_token bytea,
      access_token_context jsonb,
      refresh_token bytea,
      refresh_token_context jsonb,
      client_secret bytea,
      client_secret_context jsonb,
      attempts integer NOT NULL DEFAULT 0,
      due_at timestamptz NOT NULL,
      created_at timestamptz NOT NULL,
      PRIMARY KEY (tenant, id),
      CONSTRAINT revocations_contexts CHECK ((access_token IS NULL) = (access_token_context IS NULL)
        AND (refresh_token IS NULL) = (refresh_token_context IS NULL)
        AND (client_secret IS NULL) = (client_secret_context IS NULL))
    )`,
    `CREATE UNIQUE INDEX revocations_id ON revocations (id)`,
    `CREATE INDEX revocations_due ON revocations (due_at)`,

    `CREATE TABLE registrations (
      tenant text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      issuer text COLLATE "C" NOT NULL,
      transport text NOT NULL,
      client_id text NOT NULL,
      auth_method text NOT NULL,
      client_secret bytea,
      client_secret_expires_at timestamptz,
      redirect_uri text NOT NULL,
      scopes text[] NOT NULL,
      updated_at timestamptz NOT NULL,
      PRIMARY KEY (tenant, server, issuer, transport)
    )`,

    `CREATE TABLE servers (
      tenant text COLLATE "C" NOT NULL,
      slug text COLLATE "C" NOT NULL,
      definition jsonb NOT NULL,
      client_secret bytea,
      created_at timestamptz NOT NULL,
      updated_at timestamptz NOT NULL,
      PRIMARY KEY (tenant, slug)
    )`,

    `CREATE TABLE audit (
      tenant text COLLATE "C" NOT NULL,
      id bigint GENERATED ALWAYS AS IDENTITY,
      at timestamptz NOT NULL,
      subject text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      action text NOT NULL,
      outcome text NOT NULL,
      generation integer,
      PRIMARY KEY (tenant, id)
    )`
  ]
}
