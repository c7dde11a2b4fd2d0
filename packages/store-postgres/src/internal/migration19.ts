import type { Migration } from "../Migrations.ts"
import { policyOf } from "./rowSecurity.ts"

/** Who registers a client right now. */
export const migration19: Migration = {
  id: 19,
  name: "registration_turns",
  statements: [
    `CREATE TABLE registration_turns (
      tenant text COLLATE "C" NOT NULL,
      server text COLLATE "C" NOT NULL,
      issuer text COLLATE "C" NOT NULL,
      transport text COLLATE "C" NOT NULL,
      turn text COLLATE "C" NOT NULL,
      until timestamptz NOT NULL,
      PRIMARY KEY (tenant, server, issuer, transport)
    )`,
    `CREATE TRIGGER registration_turns_of_deleted BEFORE INSERT ON registration_turns
      FOR EACH ROW EXECUTE FUNCTION valetkey_refuse_deleted('marked')`,
    ...policyOf("registration_turns")
  ]
}
