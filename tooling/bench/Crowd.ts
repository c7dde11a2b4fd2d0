import { FlowId } from "@valetkey/domain/Flow"
import type { FlowOwner } from "@valetkey/domain/Flows"
import { SubjectId } from "@valetkey/domain/Subject"
import { Database } from "@valetkey/store-postgres/Database"
import { SqliteDatabase } from "@valetkey/store-sqlite/SqliteDatabase"
import { Effect } from "effect"
import { newFlow, server, tenant } from "./NewFlow.ts"

/** Rows written at once: a statement must end within the deadline of the store on a slow machine. */
const chunk = 5000

const idOf = (n: number) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`
const subjectOf = (n: number) => `person-${n.toString(16).padStart(8, "0")}`

/** The owner of the n-th flow of a crowd. */
export const ownerOf = (n: number): FlowOwner => ({
  id: FlowId.make(idOf(n)),
  tenant,
  subject: SubjectId.make(subjectOf(n))
})

const { snapshot, grant } = newFlow().frozen.authorization

/** Writes so many pending flows, each of a person of its own, past the store and with everything that a start freezes. */
export const fillPostgres = Effect.fnUntraced(function*(flows: number) {
  const database = yield* Database
  for (let from = 0; from < flows; from += chunk) {
    yield* database.acrossTenants.write(
      "crowd",
      (sql) =>
        sql`INSERT INTO flows (tenant, id, subject, server, transport, confirmation, snapshot, "grant", context,
          state_hash, code_verifier, created_at, expires_at)
        SELECT ${tenant}, '00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'), 'person-' || lpad(to_hex(n), 8, '0'),
          ${server}, 'gateway', 'none', ${sql.json(snapshot)}, ${sql.json(grant)}, 'crowd', 'crowd ' || n,
          decode(repeat('5a', 180), 'hex'), clock_timestamp(), clock_timestamp() + interval '1 day'
        FROM generate_series(${from}::int, ${Math.min(flows, from + chunk) - 1}::int) AS n`
    )
  }
  // As autovacuum does, only now.
  yield* database.acrossTenants.write("crowd", (sql) => sql`ANALYZE flows`)
})

/** The same for the embedded store. */
export const fillEmbedded = Effect.fnUntraced(function*(flows: number) {
  const database = yield* SqliteDatabase
  for (let from = 0; from < flows; from += chunk) {
    yield* database.write("crowd", (session, now) => {
      for (let n = from; n < Math.min(flows, from + chunk); n++) {
        session.run(
          `INSERT INTO flows (tenant, id, subject, server, state, transport, confirmation, snapshot, grant_json, context,
             state_hash, code_verifier, created_at, expires_at)
           VALUES (?, ?, ?, ?, 'pending', 'gateway', 'none', ?, ?, 'crowd', ?, ?, ?, ?)`,
          tenant,
          idOf(n),
          subjectOf(n),
          server,
          JSON.stringify(snapshot),
          JSON.stringify(grant),
          `crowd ${n}`,
          Buffer.alloc(180, 0x5a),
          now,
          now + 86_400_000
        )
      }
    })
  }
})
