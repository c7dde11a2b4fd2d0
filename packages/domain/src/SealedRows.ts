import { Context, type Effect } from "effect"
import { ConnectionKey, type Epoch, sealContext as connectionContext } from "./Connection.ts"
import { type FlowId, sealContext as flowContext, type TransportKind } from "./Flow.ts"
import { sealContext as registrationContext } from "./RegistrationStore.ts"
import type { SealContext, Sealed } from "./Sealed.ts"
import type { ServerSlug } from "./Server.ts"
import { sealContext as serverContext } from "./ServerStore.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"
import { sealContext as tenantKeyContext } from "./TenantKeyStore.ts"

/** The tables that hold envelopes, in the order in which they are sealed anew. */
export const sealedTables = ["connections", "flows", "registrations", "servers", "revocations", "tenant_keys"] as const

/** One table that holds envelopes. */
export type SealedTable = (typeof sealedTables)[number]

/** The secrets of each table, by the field of their context. */
export const sealedFields = {
  connections: ["access_token", "refresh_token", "client_secret", "account"],
  flows: ["code_verifier", "client_secret", "authorization_code", "authorization_url", "device_code"],
  registrations: ["client_secret"],
  servers: ["client_secret"],
  revocations: ["access_token", "refresh_token", "client_secret"],
  tenant_keys: ["data_key"]
} as const satisfies { readonly [Table in SealedTable]: ReadonlyArray<SealContext["field"]> }

/** One envelope of a row with the context that opens it; the context's field says which of the row's it is. */
export interface SealedColumn {
  readonly context: SealContext
  readonly sealed: Sealed
}

/** A row as rotation sees it: nothing but its identity and its envelopes. */
export interface SealedRow {
  readonly table: SealedTable
  /** The primary key. Rows come in its order. */
  readonly id: ReadonlyArray<string>
  /** The generation of the credentials; 0 where a row has none. */
  readonly generation: number
  readonly envelopes: ReadonlyArray<SealedColumn>
}

/** The context of one of a row's secrets. An entry of the revocation outbox carries its own instead. */
export const contextOf = (
  row: Pick<SealedRow, "id" | "generation"> & {
    readonly table: Exclude<SealedTable, "revocations">
    /** Of a connection. */
    readonly epoch?: Epoch | undefined
  },
  field: SealContext["field"]
): SealContext => {
  const [first = "", second = "", third = "", fourth = ""] = row.id
  const tenant = first as TenantId
  switch (row.table) {
    case "connections": {
      const parts = { tenant, subject: second as SubjectId, server: third as ServerSlug }
      return connectionContext(
        new ConnectionKey(parts, { disableChecks: true }),
        row.epoch ?? ("" as Epoch),
        field as "access_token",
        field === "client_secret" || field === "account" ? 0 : row.generation
      )
    }
    case "flows":
      return flowContext(tenant, second as FlowId, field as "code_verifier")
    case "registrations":
      return registrationContext({
        tenant,
        server: second as ServerSlug,
        issuer: third,
        transport: fourth as TransportKind
      })
    case "servers":
      return serverContext(tenant, second as ServerSlug)
    case "tenant_keys":
      return tenantKeyContext(tenant, Number(second))
  }
}

/** How many envelopes of a table name a root key. Those under data keys are not counted: they name none. */
export interface EnvelopeCount {
  readonly table: SealedTable
  readonly keyId: number
  readonly envelopes: number
}

/** Port: the envelopes of a store by the key that they name, for rotation alone. It looks across tenants. */
export class SealedRows extends Context.Service<SealedRows, {
  /** Every key that some envelope names, table by table. */
  readonly counts: Effect.Effect<ReadonlyArray<EnvelopeCount>, StoreError>
  /** Rows with an envelope under one of the root keys, in the order of their ids, after the given one. Only those envelopes are in them. */
  page(input: {
    readonly table: SealedTable
    readonly keyIds: ReadonlyArray<number>
    readonly after: SealedRow["id"] | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<SealedRow>, StoreError>
  /**
   * Replaces the envelopes of each row, `sealed` in the order of `envelopes`, if the row still has this generation and
   * byte for byte these envelopes: whatever anybody wrote meanwhile stays. Row by row all or nothing. Returns how many
   * rows were replaced.
   */
  replace(
    rows: ReadonlyArray<{ readonly row: SealedRow; readonly sealed: ReadonlyArray<Sealed> }>
  ): Effect.Effect<number, StoreError>
}>()("@valetkey/domain/SealedRows") {}
