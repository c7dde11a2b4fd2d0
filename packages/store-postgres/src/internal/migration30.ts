import type { Migration } from "../Migrations.ts"
import { policyOf } from "./rowSecurity.ts"

/**
 * The client ids of documents that this installation issued. They have a table of their own because what a connection or a
 * registration says of its client is its writer's word. Whoever reads a document knows nothing but its id: with columns
 * whose comparison is leakproof, row-level security leaves the lookup its index.
 *
 * Ids from before are those that are in use; what is not one of a document, or longer than any, is none.
 */
export const migration30: Migration = {
  id: 30,
  name: "client_documents",
  statements: [
    `CREATE TABLE client_documents (
      tenant text COLLATE "C" NOT NULL,
      client_id text COLLATE "C" NOT NULL CHECK (octet_length(client_id) <= 2048),
      PRIMARY KEY (tenant, client_id)
    )`,
    "CREATE INDEX client_documents_id ON client_documents USING hash (client_id)",
    `INSERT INTO client_documents (tenant, client_id)
      SELECT tenant, client_id FROM (
        SELECT tenant, client_id FROM registrations WHERE auth_method = 'private_key_jwt'
        UNION
        SELECT tenant, "grant" ->> 'clientId' FROM connections WHERE "grant" ->> 'authMethod' = 'private_key_jwt'
      ) AS signing
      WHERE client_id LIKE 'https://%/oauth/%/%/client-metadata.json' AND octet_length(client_id) <= 2048
        AND NOT EXISTS (SELECT FROM tenant_deletions WHERE tenant_deletions.tenant = signing.tenant)`,
    `CREATE TRIGGER client_documents_of_deleted BEFORE INSERT ON client_documents
      FOR EACH ROW EXECUTE FUNCTION valetkey_refuse_deleted('marked')`,
    ...policyOf("client_documents")
  ]
}
