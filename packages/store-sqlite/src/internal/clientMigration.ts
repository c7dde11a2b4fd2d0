import { marked, refuse } from "./tenantMigration.ts"

// A grant that cannot be read is left out: it must not keep the file from opening.
const ofGrant = (name: string) => `CASE WHEN json_valid(grant_json) THEN json_extract(grant_json, '$.${name}') END`

/**
 * The client ids of documents that this installation issued. They have a table of their own because what a connection or a
 * registration says of its client is its writer's word. Ids from before are those that are in use.
 */
export const clientDocuments = `
  CREATE TABLE client_documents (
    tenant TEXT NOT NULL,
    client_id TEXT NOT NULL,
    PRIMARY KEY (tenant, client_id)
  ) STRICT;
  CREATE INDEX client_documents_id ON client_documents (client_id);
  INSERT INTO client_documents (tenant, client_id)
    SELECT tenant, client_id FROM (
      SELECT tenant, client_id FROM registrations WHERE auth_method = 'private_key_jwt'
      UNION
      SELECT tenant, ${ofGrant("clientId")} FROM connections WHERE ${ofGrant("authMethod")} = 'private_key_jwt'
    ) AS signing
    WHERE client_id LIKE 'https://%/oauth/%/%/client-metadata.json'
      AND NOT EXISTS (SELECT 1 FROM tenant_deletions WHERE tenant_deletions.tenant = signing.tenant);
  ${refuse("client_documents_of_deleted", "INSERT ON client_documents", marked)}
`
