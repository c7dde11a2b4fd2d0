import type { Migration } from "../Migrations.ts"

/**
 * Clients that sign are found by their id, because whoever reads their document knows nothing else. By its hash, because an
 * id may be longer than an entry of a tree.
 */
export const migration30: Migration = {
  id: 30,
  name: "signing_clients",
  statements: [
    `CREATE INDEX registrations_signing ON registrations USING hash (client_id) WHERE auth_method = 'private_key_jwt'`,
    `CREATE INDEX connections_signing ON connections USING hash (("grant" ->> 'clientId'))
      WHERE "grant" ->> 'authMethod' = 'private_key_jwt'`
  ]
}
