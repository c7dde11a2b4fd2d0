import type { Epoch } from "@valetkey/domain/Connection"
import { keyIdOf, type SealContext } from "@valetkey/domain/Sealed"
import {
  contextOf,
  type SealedColumn,
  sealedFields,
  type SealedRow,
  SealedRows,
  type SealedTable,
  sealedTables
} from "@valetkey/domain/SealedRows"
import { Effect, Layer } from "effect"
import { sealedOf } from "./internal/columns.ts"
import { fromJson, type Session } from "./internal/openDatabase.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `SealedRows` over the database. */
export const layer: Layer.Layer<SealedRows, never, SqliteDatabase> = Layer.effect(
  SealedRows,
  Effect.map(SqliteDatabase, (database) =>
    SealedRows.of({
      counts: database.read("counts", (session) => sealedTables.flatMap((table) => countsOf(session, table))),

      page: ({ after, keyIds, limit, table }) =>
        database.read("page", (session) => {
          const { key, name } = shapes[table]
          const ids = JSON.stringify(keyIds.map(hexOf))
          return session.all<Readonly<Record<string, unknown>>>(
            `SELECT * FROM ${name}
             WHERE (${sealedFields[table].map((field) => `${keyIn(column(field))}`).join(" OR ")})
               ${after === undefined ? "" : `AND (${key.join(", ")}) > (${key.map(() => "?").join(", ")})`}
             ORDER BY ${key.join(", ")} LIMIT ?`,
            ...sealedFields[table].map(() => ids),
            ...(after ?? []),
            limit
          ).map((row) => rowOf(table, row, keyIds))
        }),

      replace: (rows) =>
        database.write("replace", (session) =>
          rows.reduce((replaced, { row, sealed }) => {
            const { key, name } = shapes[row.table]
            const columns = row.envelopes.map(({ context }) => column(context.field))
            return replaced + session.run(
              `UPDATE ${name} SET ${columns.map((name) => `${name} = ?`).join(", ")}
               WHERE ${[...key, ...columns].map((name) => `${name} = ?`).join(" AND ")}
                 ${row.table === "connections" ? "AND generation = ?" : ""}`,
              ...sealed,
              ...row.id,
              ...row.envelopes.map(({ sealed }) => sealed),
              ...(row.table === "connections" ? [row.generation] : [])
            )
          }, 0))
    }))
)

/** How the tables of the port are called here, and their primary keys. */
const shapes: { readonly [Table in SealedTable]: { readonly name: string; readonly key: ReadonlyArray<string> } } = {
  connections: { name: "connections", key: ["tenant", "subject", "server"] },
  flows: { name: "flows", key: ["tenant", "id"] },
  registrations: { name: "registrations", key: ["tenant", "server", "issuer", "transport"] },
  servers: { name: "servers", key: ["tenant", "slug"] },
  revocations: { name: "outbox", key: ["tenant", "id"] },
  tenant_keys: { name: "tenant_keys", key: ["tenant", "id"] }
}

const column = (field: SealContext["field"]): string => field === "authorization_code" ? "code" : field

// Bytes 5 to 8 of an envelope name its key.
const keyIn = (name: string): string =>
  `(hex(substr(${name}, 5, 4)) IN (SELECT value FROM json_each(?)) AND ${underRootKey(name)})`

// What is under a tenant's data key names no root key.
const underRootKey = (name: string): string => `hex(substr(${name}, 1, 4)) <> '564B3032'`

const hexOf = (keyId: number): string => keyId.toString(16).toUpperCase().padStart(8, "0")

const countsOf = (session: Session, table: SealedTable) =>
  session.all<{ readonly key_id: string; readonly envelopes: number }>(
    `SELECT key_id, count(*) AS envelopes FROM (${
      sealedFields[table].map((field) =>
        `SELECT hex(substr(${column(field)}, 5, 4)) AS key_id FROM ${shapes[table].name}
         WHERE ${column(field)} IS NOT NULL AND ${underRootKey(column(field))}`
      ).join(" UNION ALL ")
    }) GROUP BY key_id`
  ).map(({ envelopes, key_id }) => ({
    table,
    keyId: key_id.length === 8 ? Number.parseInt(key_id, 16) : -1,
    envelopes
  }))

const rowOf = (
  table: SealedTable,
  columns: Readonly<Record<string, unknown>>,
  keyIds: ReadonlyArray<number>
): SealedRow => {
  const id = shapes[table].key.map((name) => String(columns[name]))
  const generation = table === "connections" ? Number(columns["generation"]) : 0
  const contextAt = (field: SealContext["field"]): SealContext =>
    table === "revocations"
      ? fromJson<SealContext>(String(columns[`${field}_context`]))
      : contextOf({ table, id, generation, epoch: columns["epoch"] as Epoch | undefined }, field)
  return {
    table,
    id,
    generation,
    envelopes: sealedFields[table].flatMap((field): ReadonlyArray<SealedColumn> => {
      const sealed = columns[column(field)] as Uint8Array | null
      if (sealed === null || !keyIds.includes(keyIdOf(sealedOf(sealed)) ?? -1)) return []
      return [{ context: contextAt(field), sealed: sealedOf(sealed) }]
    })
  }
}
