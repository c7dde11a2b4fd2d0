import type { Epoch } from "@valetkey/domain/Connection"
import { keyIdOf, type SealContext, type Sealed } from "@valetkey/domain/Sealed"
import {
  contextOf,
  type SealedColumn,
  sealedFields,
  type SealedRow,
  SealedRows,
  type SealedTable,
  sealedTables
} from "@valetkey/domain/SealedRows"
import { Effect, Layer, type Schema } from "effect"
import { Database } from "./Database.ts"
import { storeError } from "./internal/failure.ts"
import { decodeContext } from "./internal/revocationRows.ts"

/** Layer of `SealedRows` on every table with envelopes. */
export const layer: Layer.Layer<SealedRows, never, Database> = Layer.effect(
  SealedRows,
  Effect.map(Database, (database) =>
    SealedRows.of({
      counts: database.acrossTenants.read("SealedRows.counts", (sql) =>
        Effect.map(
          sql.unsafe<{ table: SealedTable; key: string; envelopes: number }>(countStatement),
          (rows) =>
            rows.map(({ envelopes, key, table }) => ({
              table,
              keyId: key.length === 8 ? Number.parseInt(key, 16) : -1,
              envelopes
            }))
        )),

      page: ({ after, keyIds, limit, table }) =>
        database.acrossTenants.read("SealedRows.page", (sql) =>
          Effect.flatMap(
            sql.unsafe<Columns>(pageStatement(table, after !== undefined), [
              keyIds.map(hexOf),
              limit,
              ...(after ?? [])
            ]),
            Effect.forEach((columns) =>
              Effect.mapError(rowOf(table, columns, keyIds), (error) => storeError("SealedRows.page", error))
            )
          )),

      replace: (rows) =>
        database.acrossTenants.transaction("SealedRows.replace", (sql) =>
          Effect.gen(function*() {
            let replaced = 0
            for (const { row, sealed } of rows) {
              const found = yield* sql.unsafe(replaceStatement(row), [
                ...row.id,
                ...sealed,
                ...row.envelopes.map(({ sealed }) => sealed),
                ...(row.table === "connections" ? [row.generation] : [])
              ])
              replaced += found.length
            }
            return replaced
          }))
    }))
)

const keys: { readonly [Table in SealedTable]: ReadonlyArray<string> } = {
  connections: ["tenant", "subject", "server"],
  flows: ["tenant", "id"],
  registrations: ["tenant", "server", "issuer", "transport"],
  servers: ["tenant", "slug"],
  revocations: ["tenant", "id"],
  tenant_keys: ["tenant", "id::text"]
}

// Bytes 5 to 8 of an envelope name its key.
const keyOf = (column: string): string => `encode(substring(${column} from 5 for 4), 'hex')`

// What is under a tenant's data key names no root key.
const underRootKey = (column: string): string => `substring(${column} from 1 for 4) <> 'VK02'::bytea`

const hexOf = (keyId: number): string => keyId.toString(16).padStart(8, "0")

const countStatement = `SELECT "table", key, count(*)::int AS envelopes FROM (${
  sealedTables.flatMap((table) =>
    sealedFields[table].map((field) =>
      `SELECT '${table}' AS "table", ${keyOf(field)} AS key FROM ${table}
        WHERE ${underRootKey(field)}`
    )
  ).join(" UNION ALL ")
}) AS envelopes GROUP BY "table", key`

const extras: { readonly [Table in SealedTable]: ReadonlyArray<string> } = {
  connections: ["epoch", "generation"],
  flows: [],
  registrations: [],
  servers: [],
  revocations: sealedFields.revocations.map((field) => `${field}_context`),
  tenant_keys: []
}

/** The names are those of this file; what came from outside are parameters. */
const pageStatement = (table: SealedTable, hasAfter: boolean): string => {
  const key = keys[table].join(", ")
  const columns = [
    ...keys[table].map((name, index) => `${name} AS k${index}`),
    ...sealedFields[table].map((name, index) => `${name} AS s${index}`),
    ...extras[table].map((name, index) => `${name} AS x${index}`)
  ]
  return `SELECT ${columns.join(", ")} FROM ${table}
    WHERE (${
    sealedFields[table].map((field) => `${keyOf(field)} = ANY($1::text[]) AND ${underRootKey(field)}`).join(" OR ")
  })
      ${hasAfter ? `AND (${key}) > (${keys[table].map((_, index) => `$${index + 3}`).join(", ")})` : ""}
    ORDER BY ${key} LIMIT $2`
}

const replaceStatement = ({ envelopes, table }: SealedRow): string => {
  const key = keys[table]
  const fields = envelopes.map(({ context }) => context.field)
  const at = (offset: number) => (field: string, index: number) => `${field} = $${offset + index + 1}`
  const conditions = [
    ...key.map(at(0)),
    ...fields.map(at(key.length + fields.length)),
    ...(table === "connections" ? [`generation = $${key.length + 2 * fields.length + 1}`] : [])
  ]
  return `UPDATE ${table} SET ${fields.map(at(key.length)).join(", ")}
    WHERE ${conditions.join(" AND ")} RETURNING tenant`
}

interface Columns {
  readonly [name: string]: unknown
}

const rowOf = (
  table: SealedTable,
  columns: Columns,
  keyIds: ReadonlyArray<number>
): Effect.Effect<SealedRow, Schema.SchemaError> =>
  Effect.gen(function*() {
    const id = keys[table].map((_, index) => String(columns[`k${index}`]))
    const generation = table === "connections" ? Number(columns["x1"]) : 0
    const contextAt = (field: SealContext["field"], index: number): Effect.Effect<SealContext, Schema.SchemaError> =>
      table === "revocations"
        ? decodeContext(columns[`x${index}`])
        : Effect.succeed(contextOf({ table, id, generation, epoch: columns["x0"] as Epoch | undefined }, field))
    const envelopes = new Array<SealedColumn>()
    for (const [index, field] of sealedFields[table].entries()) {
      const sealed = columns[`s${index}`] as Sealed | null
      if (sealed === null || !keyIds.includes(keyIdOf(sealed) ?? -1)) continue
      envelopes.push({ context: yield* contextAt(field, index), sealed })
    }
    return { table, id, generation, envelopes }
  })
