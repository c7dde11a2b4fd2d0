/** Whether the tenant of a new row is marked for deletion. */
export const marked = "EXISTS (SELECT 1 FROM tenant_deletions WHERE tenant = NEW.tenant)"
const gone = "EXISTS (SELECT 1 FROM tenant_deletions WHERE tenant = NEW.tenant AND deleted_at IS NOT NULL)"

/** The message by which a refused write is known. */
export const refusal = "tenant_deleted"

/** A trigger that refuses a row. */
export const refuse = (name: string, event: string, condition: string): string =>
  `CREATE TRIGGER ${name} BEFORE ${event} WHEN ${condition}
   BEGIN SELECT RAISE(ABORT, '${refusal}'); END;`

/** Tenants that are deleted, and data keys. The triggers refuse a deleted tenant's rows, whoever writes them. */
export const tenants = `
  CREATE TABLE tenant_deletions (
    tenant TEXT PRIMARY KEY,
    requested_at INTEGER NOT NULL,
    quiet_at INTEGER NOT NULL,
    deleted_at INTEGER
  ) STRICT;
  CREATE INDEX tenant_deletions_unfinished ON tenant_deletions (requested_at) WHERE deleted_at IS NULL;

  CREATE TABLE tenant_allowances (
    tenant TEXT PRIMARY KEY,
    allowed_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE tenant_keys (
    tenant TEXT PRIMARY KEY,
    id INTEGER NOT NULL CHECK (id BETWEEN 0 AND 4294967295),
    data_key BLOB NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT;

  ${refuse("flows_of_deleted", "INSERT ON flows", marked)}
  ${refuse("connections_of_deleted", "INSERT ON connections", marked)}
  ${refuse("registrations_of_deleted", "INSERT ON registrations", marked)}
  ${refuse("servers_of_deleted", "INSERT ON servers", marked)}
  ${refuse("api_keys_of_deleted", "INSERT ON api_keys", marked)}
  ${refuse("outbox_of_deleted", "INSERT ON outbox", gone)}
  ${refuse("tenant_keys_of_deleted", "INSERT ON tenant_keys", gone)}
`
