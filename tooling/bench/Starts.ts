import { Flows } from "@valetkey/domain/Flows"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { Servers } from "@valetkey/domain/Servers"
import { Database, type Sql } from "@valetkey/store-postgres/Database"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect, Layer } from "effect"
import * as EveryStore from "../proofs/EveryStore.ts"
import * as Installation from "../proofs/Installation.ts"
import { type NewFlow, newFlow, server, tenant } from "./NewFlow.ts"
import { median, race } from "./Race.ts"
import type { Section } from "./Table.ts"

const concurrent = 64
const calls = 40 * concurrent
const single = 200

/**
 * Starts of flows on Postgres, beside the same rows inserted one by one through the same driver and pool. The limits are set
 * against that floor because it does the same durable work: the same table with its indexes, checks and trigger. What an
 * insert into a table without most of these costs is shown beside it.
 */
export const starts = (rounds: number): Promise<ReadonlyArray<Section>> =>
  Effect.gen(function*() {
    const { url } = yield* EmbeddedPostgres.database
    return yield* measure(rounds).pipe(
      Effect.provide(
        Installation.layer(EveryStore.postgres(url)).pipe(
          Layer.provideMerge(Database.layer({ url }))
        )
      )
    )
  }).pipe(Effect.scoped, Effect.runPromise)

const measure = Effect.fnUntraced(function*(rounds: number) {
  const flows = yield* Flows
  const store = yield* FlowStore
  // The client itself, without the deadlines that the store puts around it.
  const sql = yield* (yield* Database).write("bench", (sql) => Effect.succeed(sql))
  yield* sql.unsafe(plainTable)
  yield* (yield* Servers).put(tenant, server, {
    resource: "https://mcp.example/mcp",
    endpoints: { authorization: "https://as.example/authorize", token: "https://as.example/token" },
    client: { clientId: "bench", authMethod: "none" },
    quirks: {}
  })
  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  const same = (flow: NewFlow) => insertOne(sql, "flows", flow)
  const plain = (flow: NewFlow) => insertOne(sql, "plain_flows", flow)
  const start = ({ key }: NewFlow) => flows.start(key, { transport: "gateway" })
  return [
    {
      title: `flow starts on Postgres, ${concurrent} at once`,
      unit: "per second",
      figures: yield* Effect.promise(() =>
        race(rounds, [
          ["one insert of the same row for each", () => run(together(same))],
          ["one insert for each into a table with two indexes", () => run(together(plain))],
          ["FlowStore.reserve, frozen", () => run(together(store.reserve))],
          ["Flows.start, reads and audit included", () => run(together(start))]
        ])
      ),
      limits: { "FlowStore.reserve, frozen": { atLeast: 4 } }
    },
    {
      title: "a single flow start on Postgres",
      unit: "ms, median",
      figures: yield* Effect.promise(() =>
        race(rounds, [
          ["one insert of the same row", () => run(oneByOne(same))],
          ["one insert into a table with two indexes", () => run(oneByOne(plain))],
          ["FlowStore.reserve, frozen", () => run(oneByOne(store.reserve))],
          ["Flows.start, reads and audit included", () => run(oneByOne(start))]
        ])
      ),
      limits: { "FlowStore.reserve, frozen": { atMost: 1.2 } }
    }
  ] satisfies ReadonlyArray<Section>
})

/** The same columns with a key, and the one index that a callback needs. */
const plainTable = `CREATE TABLE plain_flows (tenant text, id text PRIMARY KEY, subject text, server text, state text,
  transport text, confirmation text, snapshot jsonb, "grant" jsonb, context text, state_hash text UNIQUE,
  ticket_hash text, code_verifier bytea, authorization_url bytea, created_at timestamptz, expires_at timestamptz)`

const insertOne = (
  sql: Sql,
  table: string,
  { confirmation, frozen: { authorization, ticket }, id, key, transport }: NewFlow
) =>
  sql`INSERT INTO ${
    sql(table)
  } (tenant, id, subject, server, state, transport, confirmation, snapshot, "grant", context,
      state_hash, ticket_hash, code_verifier, authorization_url, created_at, expires_at)
    VALUES (${key.tenant}, ${id}, ${key.subject}, ${key.server}, 'pending', ${transport},
      ${confirmation}, ${sql.json(authorization.snapshot)}, ${sql.json(authorization.grant)}, ${authorization.context},
      ${authorization.stateHash}, ${ticket.ticketHash}, ${authorization.codeVerifier}, ${ticket.authorizationUrl},
      now(), now() + interval '10 minutes')`

const together = <A, E>(start: (flow: NewFlow) => Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const flows = Array.from({ length: calls }, newFlow)
    const begun = performance.now()
    yield* Effect.forEach(flows, start, { concurrency: concurrent, discard: true })
    return calls * 1000 / (performance.now() - begun)
  })

const oneByOne = <A, E>(start: (flow: NewFlow) => Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const flows = Array.from({ length: single }, newFlow)
    const times: Array<number> = []
    for (const flow of flows) {
      const begun = performance.now()
      yield* start(flow)
      times.push(performance.now() - begun)
    }
    return median(times)
  })
