import type { Migration } from "../Migrations.ts"
import { policyOf } from "./rowSecurity.ts"

/**
 * What providers answered, the way from a connection to its events, and sessions of the console. An event is in one of the
 * two indices: there are many uses between two events that tell how a connection stands.
 */
export const migration12: Migration = {
  id: 12,
  name: "console",
  statements: [
    `ALTER TABLE audit ADD COLUMN answer text`,
    `CREATE INDEX audit_history ON audit (tenant, subject, server, seq) WHERE action <> 'token.read'`,
    `CREATE INDEX audit_uses ON audit (tenant, subject, server, seq) WHERE action = 'token.read'`,

    `CREATE TABLE console_sessions (
      tenant text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      subject text COLLATE "C" NOT NULL,
      scopes text[] NOT NULL,
      ticket_hash text COLLATE "C" NOT NULL,
      ticket_until timestamptz NOT NULL,
      session_hash text COLLATE "C",
      created_at timestamptz NOT NULL,
      expires_at timestamptz NOT NULL,
      seen_at timestamptz NOT NULL,
      PRIMARY KEY (tenant, id)
    )`,
    `CREATE UNIQUE INDEX console_sessions_ticket ON console_sessions (ticket_hash)`,
    `CREATE UNIQUE INDEX console_sessions_session ON console_sessions (session_hash) WHERE session_hash IS NOT NULL`,
    `CREATE INDEX console_sessions_old ON console_sessions (expires_at)`,
    `CREATE TRIGGER console_sessions_of_deleted BEFORE INSERT ON console_sessions
      FOR EACH ROW EXECUTE FUNCTION valetkey_refuse_deleted('marked')`,
    ...policyOf("console_sessions")
  ]
}
