import type { Flow } from "@valetkey/domain/Flow"
import { FlowId } from "@valetkey/domain/Flow"
import { FlowConflict, type FlowStore, type Frozen, type Reservation } from "@valetkey/domain/FlowStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { Clock, Deferred, Duration, Effect, Option, Schema, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Database, Operations, Sql } from "../Database.ts"
import { ofKey } from "./connectionRows.ts"
import { isFaultOfRow, storeError, tooLate } from "./failure.ts"
import { decodeFlow, flowColumns, openCondition, overdueCondition, overdueState } from "./flowRows.ts"
import { makeGrouping, type Member } from "./grouping.ts"

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

// Statements that reserve at the same time; while they are under way the next one collects.
const lanes = 2
const size = 64

/** Builds `FlowStore.reserve`: what is reserved in one turn of the event loop is one statement. */
export const makeReserve = (database: Database["Service"]): Effect.Effect<Reserve, never, Scope.Scope> =>
  Effect.map(
    makeGrouping({ lanes, size, run: (members: ReadonlyArray<Waiting>) => reserveGroup(database, members) }),
    (attempt): Reserve => {
      const round = Effect.fnUntraced(function*(input: Input) {
        const reserved = yield* attempt({ input, since: yield* Clock.monotonicTimeNanos })
        if (Option.isSome(reserved)) return reserved.value
        const running = yield* runningFlow(database, input)
        if (running === undefined || input.onConflict === "supersede") return undefined
        if (input.onConflict === "reject") return yield* new FlowConflict({ running: running.id })
        return { _tag: "Joined", flow: running } satisfies Reservation
      })
      return (input) =>
        round(input).pipe(
          Effect.repeat({ times: maxRounds, until: (reservation) => reservation !== undefined }),
          Effect.flatMap((reservation) =>
            reservation === undefined
              ? Effect.fail(new StoreError({ code: "store_unavailable", operation }))
              : Effect.succeed(reservation)
          )
        )
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
  const parts = yield* database.partition([...first.values()], ({ input }) => input.input.key.tenant)
  yield* Effect.forEach(parts, ({ items, operations }) =>
    reserveEach(operations, items).pipe(
      // The fault of one row undid the statement of all: each has one of its own.
      Effect.catchIf((error) => items.length > 1 && isFaultOfRow(error), () =>
        Effect.forEach(
          items,
          (item) => Effect.catch(reserveEach(operations, [item]), (error) => answer([item], Effect.fail(error))),
          { discard: true, concurrency: lanes }
        )),
      (reserving) => notLater(database, items, reserving),
      Effect.catch((error) => answer(items, Effect.fail(error)))
    ), { discard: true, concurrency: "unbounded" })
  // Whoever wanted a slot that another member went for looks what became of it.
  yield* answer(members, Effect.succeedNone)
})

/** Whoever waited for the statements before it has that much less time left. */
const notLater = <A>(
  { deadline }: Database["Service"],
  items: ReadonlyArray<Waiting>,
  work: Effect.Effect<A, StoreError>
): Effect.Effect<A, StoreError> =>
  Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
    const waited = Duration.nanos(
      items.reduce((longest, { input: { since } }) => now - since > longest ? now - since : longest, 0n)
    )
    return Duration.toMillis(waited) * 10 < Duration.toMillis(deadline)
      ? work
      : Effect.timeoutOrElse(work, {
        duration: Duration.subtract(deadline, waited),
        orElse: () => Effect.fail(tooLate(operation))
      })
  })

const answer = (members: ReadonlyArray<Waiting>, result: Effect.Effect<Option.Option<Reservation>, StoreError>) =>
  Effect.sync(() => {
    for (const { done } of members) Deferred.doneUnsafe(done, result)
  })

const reserveEach = (operations: Operations, items: ReadonlyArray<Waiting>): Effect.Effect<void, StoreError> =>
  Effect.gen(function*() {
    // Locks are taken in the order of the slots, so that the statements of two replicas do not wait for each other.
    const sorted = items.toSorted((a, b) => a.input.input.key.path < b.input.input.key.path ? -1 : 1)
    const rows = yield* operations.write(operation, (sql) => insert(sql, sorted.map(({ input }) => input.input)))
    const inserted = new Map(
      yield* Effect.mapError(decodeInserted(rows), (error) => storeError(operation, error)).pipe(
        Effect.map((rows) => rows.map((row) => [row.id, row] as const))
      )
    )
    for (const { done, input: { input } } of items) {
      const row = inserted.get(input.id)
      Deferred.doneUnsafe(
        done,
        Effect.succeed(
          row === undefined ? Option.none() : Option.some<Reservation>({
            _tag: "Reserved",
            flow: {
              id: input.id,
              key: input.key,
              state: "pending",
              transport: input.transport,
              confirmation: input.confirmation,
              snapshot: input.frozen?.authorization.snapshot,
              createdAt: row.createdAt,
              expiresAt: row.expiresAt
            },
            superseded: row.superseded ?? undefined
          })
        )
      )
    }
  })

const decodeInserted = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({
  id: FlowId,
  createdAt: Schema.DateTimeUtcFromDate,
  expiresAt: Schema.DateTimeUtcFromDate,
  superseded: Schema.NullOr(FlowId)
})))

/**
 * One statement: whatever of the connections' newest flows must give way does so, and a new one is inserted where the
 * slot is free. A partial unique index decides races.
 */
const insert = (sql: Sql, inputs: ReadonlyArray<Input>): Effect.Effect<ReadonlyArray<unknown>, SqlError> => {
  // An array of nothing but nulls has no type of its own, and null makes a column of nulls as well.
  const column = <A>(of: (input: Input) => A | undefined): ReadonlyArray<A | null> | null => {
    const values = inputs.map((input) => of(input) ?? null)
    return values.some((value) => value !== null) ? values : null
  }
  const frozen = <A>(of: (authorization: Frozen["authorization"]) => A | undefined) =>
    column(({ frozen }) => frozen && of(frozen.authorization))
  return sql`WITH wanted AS MATERIALIZED (
      SELECT * FROM unnest(
        ${column(({ id }) => id)}::text[], ${column(({ key }) => key.tenant)}::text[],
        ${column(({ key }) => key.subject)}::text[], ${column(({ key }) => key.server)}::text[],
        ${column(({ transport }) => transport)}::text[], ${column(({ confirmation }) => confirmation)}::text[],
        ${column(({ onConflict }) => onConflict === "supersede")}::boolean[],
        ${column(({ ttl }) => Duration.toMillis(ttl))}::float8[],
        ${frozen(({ snapshot }) => JSON.stringify(snapshot))}::text[], ${
    frozen(({ grant }) => JSON.stringify(grant))
  }::text[],
        ${frozen(({ context }) => context)}::text[], ${frozen(({ stateHash }) => stateHash)}::text[],
        ${frozen(({ bindingHash }) => bindingHash)}::text[], ${frozen(({ codeVerifier }) => codeVerifier)}::bytea[],
        ${frozen(({ clientSecret }) => clientSecret)}::bytea[],
        ${column(({ frozen }) => frozen?.ticket?.ticketHash)}::text[],
        ${column(({ frozen }) => frozen?.ticket?.authorizationUrl)}::bytea[]
      ) WITH ORDINALITY AS wanted (id, tenant, subject, server, transport, confirmation, supersede, ttl, snapshot,
        "grant", context, state_hash, binding_hash, code_verifier, client_secret, ticket_hash, authorization_url, place)
    ), newest AS MATERIALIZED (
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
        client_secret = NULL, authorization_code = NULL, authorization_url = NULL
      FROM newest WHERE flows.tenant = newest.tenant AND flows.id = newest.id
      RETURNING flows.id, newest.by, newest.becomes
    ), moment AS MATERIALIZED (
      SELECT clock_timestamp() AS now, (SELECT count(*) FROM passed) AS passed
    ), inserted AS (
      INSERT INTO flows (tenant, id, subject, server, transport, confirmation, created_at, expires_at, snapshot, "grant",
        context, state_hash, binding_hash, code_verifier, client_secret, ticket_hash, authorization_url)
      SELECT tenant, id, subject, server, transport, confirmation, now, now + ttl * interval '1 millisecond', snapshot::jsonb,
        "grant"::jsonb, context, state_hash, binding_hash, code_verifier, client_secret, ticket_hash, authorization_url
      FROM moment CROSS JOIN wanted ORDER BY place
      ON CONFLICT DO NOTHING
      RETURNING id, created_at, expires_at
    )
    SELECT inserted.id, created_at, expires_at, passed.id AS superseded
    FROM inserted LEFT JOIN passed ON passed.by = inserted.id AND passed.becomes = 'superseded'`
}
