import type { StoreError } from "@valetkey/domain/StoreError"
import { Clock, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Operations, Sql, Work } from "../Database.ts"

/** The policy of a table with a tenant: the rows of the tenant that the transaction names, or all if it says so. */
export const policyOf = (table: string): ReadonlyArray<string> => [
  `CREATE POLICY tenant_rows ON ${table} USING (${condition}) WITH CHECK (${condition})`,
  `ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`
]

/** How long "no" is believed: a role loses BYPASSRLS while servers run, and would find nothing from then on. */
const believed = 5000

/**
 * Builds the operations that say whose rows they are about. They ask now and then whether the database wants to know, and
 * are the plain ones when it does not. The setting ends with its transaction, so that nothing is left in a session that a
 * pooler lends on.
 */
export const make = (plain: Operations): {
  readonly forTenant: (tenant: string) => Operations
  readonly acrossTenants: Operations
  readonly partition: Partition
} => {
  let active: boolean | undefined
  let asked = 0

  const isActive: Effect.Effect<boolean, StoreError> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    if (active === true || active === false && Math.abs(now - asked) < believed) return Effect.succeed(active)
    // Whoever comes next does not ask too.
    asked = now
    return Effect.tap(plain.read("Database.rowSecurity", isForced), (found) => Effect.sync(() => active = found))
  })

  const scoped = (say: (sql: Sql) => Effect.Effect<unknown, SqlError>): Operations => {
    const inTransaction = <A, E>(operation: string, work: Work<A, E>) =>
      plain.transaction(operation, (sql) => Effect.andThen(say(sql), Effect.suspend(() => work(sql))))
    const either = (way: Operations["write"]): Operations["write"] => (operation, work) =>
      Effect.flatMap(isActive, (wanted) => wanted ? inTransaction(operation, work) : way(operation, work))
    return {
      read: either(plain.read),
      write: either(plain.write),
      transaction: either(plain.transaction)
    }
  }

  const acrossTenants = scoped((sql) => sql`SELECT set_config('valetkey.across_tenants', 'on', true)`)
  const forTenant = (tenant: string) => scoped((sql) => sql`SELECT set_config('valetkey.tenant', ${tenant}, true)`)
  return {
    forTenant,
    acrossTenants,
    partition: (items, tenantOf) =>
      Effect.map(isActive, (wanted) =>
        wanted
          ? [...Map.groupBy(items, tenantOf)].map(([tenant, items]) => ({ items, operations: forTenant(tenant) }))
          : [{ items, operations: plain }])
  }
}

/** Divides work on rows of several tenants into as few pieces as the policies allow, each with its operations. */
export type Partition = <Item>(
  items: ReadonlyArray<Item>,
  tenantOf: (item: Item) => string
) => Effect.Effect<
  ReadonlyArray<{ readonly items: ReadonlyArray<Item>; readonly operations: Operations }>,
  StoreError
>

/** Whether the policies apply to this role. A schema that is not there yet has none. */
const isForced = (sql: Sql) =>
  Effect.map(
    sql<{ active: boolean }>`SELECT row_security_active(oid) AS active FROM pg_class
      WHERE oid = to_regclass('connections')`,
    ([row]) => row?.active === true
  )

// A setting that is absent is NULL or, in a session that had it in a transaction, empty; neither is a tenant.
const condition = `tenant = nullif(current_setting('valetkey.tenant', true), '')
  OR current_setting('valetkey.across_tenants', true) = 'on'`
