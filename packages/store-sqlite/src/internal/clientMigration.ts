// A grant that cannot be read is in no index: it must keep neither the file from opening nor its row from being mended.
const ofGrant = (name: string) => `CASE WHEN json_valid(grant_json) THEN json_extract(grant_json, '$.${name}') END`

/** The client of a connection as its grant says, spelled as its index has it. */
export const signingClient = ofGrant("clientId")
/** Which connections the index has. */
export const signs = `${ofGrant("authMethod")} = 'private_key_jwt'`

/** Clients that sign are found by their id, because whoever reads their document knows nothing else. */
export const signingClients = `
  CREATE INDEX registrations_signing ON registrations (client_id) WHERE auth_method = 'private_key_jwt';
  CREATE INDEX connections_signing ON connections (${signingClient}) WHERE ${signs};
`
