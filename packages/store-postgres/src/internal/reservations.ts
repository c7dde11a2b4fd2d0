import type { Flow } from "@valetkey/domain/Flow"
import { FlowId } from "@valetkey/domain/Flow"
import { FlowConflict, type FlowStore, type Frozen, type Reservation } from "@valetkey/domain/FlowStore"
import { makeGrouping, type Member } from "@valetkey/domain/Grouping"
import { StoreError } from "@valetkey/domain/StoreError"
import { DateTime, Deferred, Duration, Effect, Option, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Database, Operations, Sql } from "../Database.ts"
import { ofKey } from "./connectionRows.ts"
import { isFaultOfRow, storeError } from "./failure.ts"
import { decodeFlow, flowColumns, openCondition, overdueCondition, overdueState } from "./flowRows.ts"
import { notLater } from "./groupedRows.ts"
import { rememberedTenant } from "./migration20.ts"

type Reserve = FlowStore["Service"]["reserve"]
type Input = Parameters<Reserve>[0]

interface Asked {
  readonly input: Input
  /** On the monotonic clock. */
  readonly since: bigint
}

/** None when the slot was not free; it is for the caller to look who holds it. */
type Waiting = Member<Asked, Option.Option<Reservation>, StoreError>

const operation = "FlowStore.reserve"

// Each round that takes nothing means that another starter of the same connection got further.
const maxRounds = 100

// Statements that reserve at the same time; while they are under way the next one collects. Smaller than what may wait, so
// that one is made and read here while the database works on another.
const lanes = 2
const size = 32

/** Builds `FlowStore.reserve`: what is reserved in one turn of the event loop is one statement. */
export const makeReserve = (database: Database["Service"]): Effect.Effect<Reserve, never, Scope.Scope> =>
  Effect.map(
    makeGrouping({ lanes, size, run: (members: ReadonlyArray<Waiting>) => reserveGroup(database, members) }),
    (attempt): Reserve => {
      const round = (input: Input) =>
        Effect.clockWith((clock) =>
          Effect.flatMap(
            attempt({ input, since: clock.monotonicTimeNanosUnsafe() }),
            Option.match({ onSome: Effect.succeed, onNone: () => whoHolds(input) })
          )
        )
      const whoHolds = Effect.fnUntraced(function*(input: Input) {
        const running = yield* runningFlow(database, input)
        if (running === undefined || input.onConflict === "supersede") return undefined
        if (input.onConflict === "reject") return yield* new FlowConflict({ running: running.id })
        return { _tag: "Joined", flow: running } satisfies Reservation
      })
      const again = (input: Input) =>
        round(input).pipe(
          Effect.repeat({ times: maxRounds - 1, until: (reservation) => reservation !== undefined }),
          Effect.filterOrFail(
            (reservation) => reservation !== undefined,
            () => new StoreError({ code: "store_unavailable", operation })
          )
        )
      return (input) =>
        Effect.flatMap(round(input), (reservation) =>
          reservation === undefined ? again(input) : Effect.succeed(reservation))
    }
  )

/** The flow that holds the connection's slot. */
const runningFlow = (database: Database["Service"], { key }: Input): Effect.Effect<Flow | undefined, StoreError> =>
  database.forTenant(key.tenant).read(operation, (sql) =>
    Effect.flatMap(
      sql`SELECT ${flowColumns(sql)} FROM flows
        WHERE ${ofKey(sql, key)} AND latest AND ${sql.literal(openCondition)} AND NOT ${sql.literal(overdueCondition)}`,
      ([row]) =>
        row === undefined
          ? Effect.undefined
          : Effect.mapError(decodeFlow(row), (error) => storeError(operation, error))
    ))

/** One statement for all, or one for each tenant where the policies ask for it. A slot stands in it once. */
const reserveGroup = Effect.fnUntraced(function*(database: Database["Service"], members: ReadonlyArray<Waiting>) {
  const first = new Map<string, Waiting>()
  for (const member of members) {
    const slot = member.input.input.key.path
    if (!first.has(slot)) first.set(slot, member)
  }
  // Locks are taken in the order of the slots, so that the statements of two replicas do not wait for each other.
  const sorted = [...first].toSorted(([a], [b]) => a < b ? -1 : 1).map(([, member]) => member)
  const parts = yield* database.partition(sorted, ({ input }) => input.input.key.tenant)
  yield* Effect.forEach(parts, ({ items, operations }) =>
    reserveEach(operations, items).pipe(
      // The fault of one row undid the statement of all: each has one of its own.
      Effect.catchIf((error) => items.length > 1 && isFaultOfRow(error), () =>
        Effect.forEach(
          items.filter(({ done }) => !Deferred.isDoneUnsafe(done)),
          (item) => Effect.catch(reserveEach(operations, [item]), (error) => answer([item], Effect.fail(error))),
          { discard: true, concurrency: lanes }
        )),
      (reserving) => notLater(database, operation, items, reserving),
      Effect.catch((error) => answer(items, Effect.fail(error)))
    ), { discard: true, concurrency: parts.length })
  // Whoever wanted a slot that another member went for looks what became of it.
  yield* answer(members, Effect.succeedNone)
})

const answer = (members: ReadonlyArray<Waiting>, result: Effect.Effect<Option.Option<Reservation>, StoreError>) =>
  Effect.sync(() => {
    for (const { done } of members) Deferred.doneUnsafe(done, result)
  })

/**
 * Inserts where the connection never had a flow, which takes no more than an insert, and where the newest flow must give
 * way. Whoever has an answer keeps it when the other statement fails.
 */
const reserveEach = (operations: Operations, items: ReadonlyArray<Waiting>): Effect.Effect<void, StoreError> =>
  Effect.gen(function*() {
    for (const statement of [insertFresh, insertOver]) {
      const left = items.filter(({ done }) => !Deferred.isDoneUnsafe(done))
      if (left.length === 0) return
      const rows = yield* operations.write(operation, (sql) => statement(sql, left.map(({ input }) => input.input)))
      for (const row of rows) {
        const member = left.find(({ input }) => input.input.id === row.id)
        if (member === undefined || !isInserted(row)) return yield* storeError(operation, row)
        yield* answer([member], Effect.succeed(Option.some(reservedOf(member.input.input, row))))
      }
    }
  })

interface Inserted {
  readonly id: string
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly superseded?: string | null
}

// The database made these of what it was given: a check takes the place of a schema on this path.
const isInserted = ({ createdAt, expiresAt }: Inserted): boolean =>
  createdAt instanceof Date && expiresAt instanceof Date

const reservedOf = (input: Input, { createdAt, expiresAt, superseded }: Inserted): Reservation => ({
  _tag: "Reserved",
  flow: {
    id: input.id,
    key: input.key,
    state: "pending",
    transport: input.transport,
    confirmation: input.confirmation,
    handOffs: 0,
    snapshot: input.frozen?.authorization.snapshot,
    createdAt: DateTime.fromDateUnsafe(createdAt),
    expiresAt: DateTime.fromDateUnsafe(expiresAt)
  },
  superseded: typeof superseded === "string" ? FlowId.make(superseded) : undefined
})

type Rows = Effect.Effect<ReadonlyArray<Inserted>, SqlError>

const columns = `tenant, id, subject, server, transport, confirmation, snapshot, "grant", context, state_hash,
  binding_hash, code_verifier, client_secret, ticket_hash, authorization_url`

// One index is asked beforehand. A row that clashes in another one is at fault by itself.
const unlessTaken = "ON CONFLICT (tenant, subject, server) WHERE latest DO NOTHING"

const insertFresh = (sql: Sql, inputs: ReadonlyArray<Input>): Rows => {
  const [input] = inputs
  return inputs.length > 1 || input === undefined
    ? sql<Inserted>`INSERT INTO flows (${sql.literal(columns)}, created_at, expires_at)
      SELECT ${sql.literal(columns)}, now, now + ttl * interval '1 millisecond'
      FROM (SELECT clock_timestamp() AS now, set_config('${sql.literal(rememberedTenant)}', '*', true)) AS moment
        CROSS JOIN ${wanted(sql, inputs)} ORDER BY place
      ${sql.literal(unlessTaken)}
      RETURNING id, created_at, expires_at`
    : sql<Inserted>`INSERT INTO flows (${sql.literal(columns)}, created_at, expires_at)
      SELECT ${input.key.tenant}, ${input.id}, ${input.key.subject}, ${input.key.server}, ${input.transport},
        ${input.confirmation}, ${snapshotOf(input) ?? null}::jsonb, ${grantOf(input) ?? null}::jsonb,
        ${input.frozen?.authorization.context ?? null}::text, ${input.frozen?.authorization.stateHash ?? null}::text,
        ${input.frozen?.authorization.bindingHash ?? null}::text,
        ${input.frozen?.authorization.codeVerifier ?? null}::bytea,
        ${input.frozen?.authorization.clientSecret ?? null}::bytea, ${input.frozen?.ticket?.ticketHash ?? null}::text,
        ${input.frozen?.ticket?.authorizationUrl ?? null}::bytea,
        now, now + ${Duration.toMillis(input.ttl)}::float8 * interval '1 millisecond'
      FROM (SELECT clock_timestamp() AS now) AS moment
      ${sql.literal(unlessTaken)}
      RETURNING id, created_at, expires_at`
}

/**
 * One statement: whatever of the connections' newest flows must give way does so, and a new one is inserted where the
 * slot is free. A partial unique index decides races.
 */
const insertOver = (sql: Sql, inputs: ReadonlyArray<Input>): Rows =>
  sql<Inserted>`WITH wanted AS MATERIALIZED (SELECT * FROM ${wanted(sql, inputs)}), newest AS MATERIALIZED (
      SELECT held.*, wanted.id AS by FROM (SELECT * FROM wanted ORDER BY place) AS wanted CROSS JOIN LATERAL (
        SELECT tenant, id, CASE WHEN settled_at IS NOT NULL THEN NULL
          WHEN ${sql.literal(overdueCondition)} THEN ${sql.literal(overdueState)} ELSE 'superseded' END AS becomes
        FROM flows
        WHERE flows.tenant = wanted.tenant AND flows.subject = wanted.subject AND flows.server = wanted.server
          AND latest AND (settled_at IS NOT NULL OR wanted.supersede OR ${sql.literal(overdueCondition)})
        LIMIT 1 FOR UPDATE
      ) AS held
    ), passed AS (
      UPDATE flows SET latest = false, state = coalesce(newest.becomes, state),
        settled_at = coalesce(settled_at, clock_timestamp()), lease_until = NULL, code_verifier = NULL,
        client_secret = NULL, authorization_code = NULL, authorization_url = NULL, device_code = NULL, poll_at = NULL
      FROM newest WHERE flows.tenant = newest.tenant AND flows.id = newest.id
      RETURNING flows.id, newest.by, newest.becomes
    ), moment AS MATERIALIZED (
      SELECT clock_timestamp() AS now, (SELECT count(*) FROM passed) AS passed
    ), inserted AS (
      INSERT INTO flows (${sql.literal(columns)}, created_at, expires_at)
      SELECT ${sql.literal(columns)}, now, now + ttl * interval '1 millisecond'
      FROM moment CROSS JOIN wanted ORDER BY place
      ON CONFLICT DO NOTHING
      RETURNING id, created_at, expires_at
    )
    SELECT inserted.id, created_at, expires_at, passed.id AS superseded
    FROM inserted LEFT JOIN passed ON passed.by = inserted.id AND passed.becomes = 'superseded'`

const snapshotOf = ({ frozen }: Input) => frozen && JSON.stringify(frozen.authorization.snapshot)
const grantOf = ({ frozen }: Input) => frozen && JSON.stringify(frozen.authorization.grant)

/** What is to be inserted as rows. The arrays are hidden from the planner: planning for each length anew costs more than inserting. */
const wanted = (sql: Sql, inputs: ReadonlyArray<Input>) => {
  // An array of nothing but nulls has no type of its own, and null makes a column of nulls as well.
  const column = <A>(of: (input: Input) => A | undefined): ReadonlyArray<A | null> | null => {
    const values = inputs.map((input) => of(input) ?? null)
    return values.some((value) => value !== null) ? values : null
  }
  const frozen = <A>(of: (authorization: Frozen["authorization"]) => A | undefined) =>
    column(({ frozen }) => frozen && of(frozen.authorization))
  return sql`(
      SELECT tenant, id, subject, server, transport, confirmation, snapshot::jsonb, "grant"::jsonb, context, state_hash,
        binding_hash, code_verifier, client_secret, ticket_hash, authorization_url, supersede, ttl, place
      FROM unnest(
        (SELECT ${column(({ id }) => id)}::text[]), (SELECT ${column(({ key }) => key.tenant)}::text[]),
        (SELECT ${column(({ key }) => key.subject)}::text[]), (SELECT ${column(({ key }) => key.server)}::text[]),
        (SELECT ${column(({ transport }) => transport)}::text[]),
        (SELECT ${column(({ confirmation }) => confirmation)}::text[]),
        (SELECT ${column(({ onConflict }) => onConflict === "supersede")}::boolean[]),
        (SELECT ${column(({ ttl }) => Duration.toMillis(ttl))}::float8[]),
        (SELECT ${column(snapshotOf)}::text[]), (SELECT ${column(grantOf)}::text[]),
        (SELECT ${frozen(({ context }) => context)}::text[]), (SELECT ${frozen(({ stateHash }) => stateHash)}::text[]),
        (SELECT ${frozen(({ bindingHash }) => bindingHash)}::text[]),
        (SELECT ${frozen(({ codeVerifier }) => codeVerifier)}::bytea[]),
        (SELECT ${frozen(({ clientSecret }) => clientSecret)}::bytea[]),
        (SELECT ${column(({ frozen }) => frozen?.ticket?.ticketHash)}::text[]),
        (SELECT ${column(({ frozen }) => frozen?.ticket?.authorizationUrl)}::bytea[])
      ) WITH ORDINALITY AS given (id, tenant, subject, server, transport, confirmation, supersede, ttl, snapshot,
        "grant", context, state_hash, binding_hash, code_verifier, client_secret, ticket_hash, authorization_url, place)
    ) AS wanted`
}
