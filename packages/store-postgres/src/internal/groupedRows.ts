import type { ConnectionKey } from "@valetkey/domain/Connection"
import { makeGrouping, type Member } from "@valetkey/domain/Grouping"
import type { StoreError } from "@valetkey/domain/StoreError"
import { Array, Clock, Deferred, Duration, Effect, Exit, Random, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Database, Operations, Sql } from "../Database.ts"
import { isFaultOfRow, tooLate } from "./failure.ts"

/** What is asked of one connection's row. */
export interface OfRow {
  readonly key: ConnectionKey
}

interface Asked<Input> {
  readonly input: Input
  /** On the monotonic clock. */
  readonly since: bigint
}

/** A row of an answer, and the place among those asked for that it belongs to, from 1 on. */
export interface Placed {
  readonly place: number
}

type Statement<Input, Row> = (sql: Sql, inputs: ReadonlyArray<Input>) => Effect.Effect<ReadonlyArray<Row>, SqlError>

/** A write that leaves out the rows that somebody else has locked. */
export interface Writing<Input> {
  readonly statement: Statement<Input, Placed>
  readonly locked: Locked<Input, Placed>
}

/** What becomes of the rows that a statement left out. */
interface Locked<Input, Row> {
  /** Says without a lock which of what had no row in the answer would have one if nobody had locked it. */
  readonly left: Statement<Input, Placed>
  /** Waits for the lock. */
  readonly patient: Statement<Input, Row>
}

// Statements of one kind that are under way at the same time; meanwhile the next one collects.
const lanes = 2
const size = 256

// Rows that somebody else has locked and that are waited for at the same time, on connections that others then do without.
const patience = 4

/**
 * Builds an operation of which what is asked for in one turn of the event loop, or while others are under way, is one
 * statement. A connection stands in a statement once. A statement that locks rows of several waits for none of them: it
 * leaves out what is locked, so nobody who locks in another order can wait for it and be waited for.
 */
export const makeGroupedRows = <Input extends OfRow, Row extends Placed, Output>(
  database: Database["Service"],
  options: {
    readonly operation: string
    /** Reads of the same row are one: it is read after the last of them asked. */
    readonly way: "read" | "write"
    /**
     * Rows of one statement at most, where replicas want the same rows and whoever is first has all the work: each takes
     * such pieces in an order of its own, so that everybody has some.
     */
    readonly piece?: number
    readonly statement: Statement<Input, Row>
    /** Where the statement leaves out what is locked: each such row is waited for by itself, and nobody else with it. */
    readonly locked?: Locked<Input, Row>
    /** What a row says, or that there was none. */
    readonly answer: (row: Row | undefined) => Effect.Effect<Output, StoreError>
  }
): Effect.Effect<(input: Input) => Effect.Effect<Output, StoreError>, never, Scope.Scope> => {
  type Waiting = Member<Asked<Input>, Output | typeof isLocked, StoreError>
  const { answer, locked, operation, piece, statement, way } = options

  const runEach = (
    operations: Operations,
    all: ReadonlyArray<ReadonlyArray<Waiting>>,
    statement: Statement<Input, Row>,
    left?: Statement<Input, Placed>
  ) =>
    Effect.gen(function*() {
      const items = all.filter((members) => !members.every(({ done }) => Deferred.isDoneUnsafe(done)))
      if (items.length === 0) return
      const inputs = items.map(([one]) => one!.input.input)
      const rows = yield* operations[way](operation, (sql) => statement(sql, inputs))
      const placed = new Map(rows.map((row) => [row.place, row]))
      const missing: Array<ReadonlyArray<Waiting>> = []
      for (const [index, members] of items.entries()) {
        const row = placed.get(index + 1)
        if (row === undefined && left !== undefined) missing.push(members)
        else settle(members, yield* Effect.exit(answer(row)))
      }
      if (left === undefined || missing.length === 0) return
      yield* notLater(database, operation, missing.flat(), judge(operations, missing, left))
    })

  /** Tells those that a statement left out from those that it is not for. */
  const judge = Effect.fnUntraced(function*(
    operations: Operations,
    items: ReadonlyArray<ReadonlyArray<Waiting>>,
    left: Statement<Input, Placed>
  ) {
    const rows = yield* operations.read(operation, (sql) => left(sql, items.map(([one]) => one!.input.input)))
    const places = new Set(rows.map(({ place }) => place))
    for (const [index, members] of items.entries()) {
      settle(members, places.has(index + 1) ? Exit.succeed(isLocked) : yield* Effect.exit(answer(undefined)))
    }
  })

  const settle = (members: ReadonlyArray<Waiting>, exit: Exit.Exit<Output | typeof isLocked, StoreError>) => {
    for (const { done } of members) Deferred.doneUnsafe(done, exit)
  }

  const fail = (members: ReadonlyArray<Waiting>, error: StoreError) =>
    Effect.sync(() => settle(members, Exit.fail(error)))

  const runAll = Effect.fnUntraced(function*(items: ReadonlyArray<ReadonlyArray<Waiting>>) {
    if (piece === undefined || items.length <= piece) return yield* runFirst(items)
    yield* Effect.forEach(yield* Random.shuffle(Array.chunksOf(items, piece)), runFirst, {
      discard: true,
      concurrency: lanes
    })
  })

  const runFirst = (items: ReadonlyArray<ReadonlyArray<Waiting>>) => run(items, statement, locked?.left)

  const run = (
    items: ReadonlyArray<ReadonlyArray<Waiting>>,
    statement: Statement<Input, Row>,
    left?: Statement<Input, Placed>
  ) =>
    Effect.flatMap(
      database.partition(items, ([one]) => one!.input.input.key.tenant),
      Effect.forEach(({ items, operations }) =>
        runEach(operations, items, statement, left).pipe(
          // The fault of one row undid the statement of all: each has one of its own.
          Effect.catchIf((error) => items.length > 1 && isFaultOfRow(error), () =>
            Effect.forEach(
              items,
              (item) => Effect.catch(runEach(operations, [item], statement, left), (error) => fail(item, error)),
              { discard: true, concurrency: lanes }
            )),
          (running) => notLater(database, operation, items.flat(), running),
          Effect.catch((error) => fail(items.flat(), error))
        ), { discard: true, concurrency: "unbounded" })
    )

  return Effect.gen(function*() {
    const attempt = yield* makeGrouping<Asked<Input>, Output | typeof isLocked, StoreError>({
      lanes,
      size,
      ...(way === "read" ? { nameOf: ({ input }) => input.key.path } : {}),
      run: Effect.fnUntraced(function*(members) {
        const rows = [...Map.groupBy(members, ({ input }) => input.input.key.path)]
          .toSorted(([a], [b]) => a < b ? -1 : 1)
          .map(([, members]) => members)
        if (way === "read") return yield* runFirst(rows)
        // Who wants to write what another member writes comes after it.
        for (let turn = 0; rows.some(({ length }) => length > turn); turn++) {
          yield* runAll(rows.filter(({ length }) => length > turn).map((members) => [members[turn]!]))
        }
      })
    })
    const patiently = yield* makeGrouping<Asked<Input>, Output | typeof isLocked, StoreError>({
      lanes: patience,
      size: 1,
      run: (members) => run([members], locked?.patient ?? statement)
    })
    const ask = (asked: Asked<Input>, how: typeof attempt): Effect.Effect<Output, StoreError> =>
      Effect.flatMap(how(asked), (output) => output === isLocked ? ask(asked, patiently) : Effect.succeed(output))
    return (input) => Effect.flatMap(Clock.monotonicTimeNanos, (since) => ask({ input, since }, attempt))
  })
}

const isLocked = Symbol("isLocked")

/**
 * Whoever waited for the statements before it has that much less time left: each is told at its own deadline, and the work
 * goes on until that of the last one.
 */
export const notLater = <Input extends { readonly since: bigint }, Output>(
  { deadline }: Database["Service"],
  operation: string,
  members: ReadonlyArray<Member<Input, Output, StoreError>>,
  work: Effect.Effect<void, StoreError>
): Effect.Effect<void, StoreError> =>
  Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
    const eldestFirst = members.toSorted((a, b) => a.input.since < b.input.since ? -1 : 1)
    const limit = Duration.toNanosUnsafe(deadline)
    const [eldest] = eldestFirst
    if (eldest === undefined || (now - eldest.input.since) * 10n < limit) return work
    return Effect.raceFirst(
      Effect.forEach(eldestFirst, ({ done, input }) =>
        Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
          const left = input.since + limit - now
          return Effect.andThen(
            left > 0n ? Effect.sleep(Duration.nanos(left)) : Effect.void,
            Effect.sync(() => void Deferred.doneUnsafe(done, Effect.fail(tooLate(operation))))
          )
        }), { discard: true }),
      work
    )
  })
