import { Effect, Layer, Metric, Option } from "effect"
import type { AuditTrail } from "./AuditTrail.ts"
import type { Connection, ConnectionKey, Epoch } from "./Connection.ts"
import { ConnectionStore } from "./ConnectionStore.ts"
import * as Instruments from "./Instruments.ts"
import { makeAuditing } from "./internal/auditing.ts"
import type { StoreError } from "./StoreError.ts"

/** Connections whose highest state a process remembers unless told otherwise; those that it met first are forgotten first. */
const capacity = 10_000
/** Ended lives of a connection that are remembered: a row of any of them is an old one. */
const remembered = 4

/** The highest state of one connection that this process knows of. */
interface Mark {
  /** Undefined while there is no row. */
  epoch: Epoch | undefined
  generation: number
  /** On the store's clock: a new life that counts from one is told by it from an old one that came back. */
  updatedAt: number
  /** Lives before this one, the latest first. */
  former: ReadonlyArray<Epoch>
}

/**
 * Layer of a ConnectionStore that notices when a whole row has gone back to what it was before, which its envelopes
 * cannot show: whoever can write the database can also put back an older row, generation and all. A process knows what
 * it has read and written. It raises the alarm once for each rollback and goes on from there: a restored backup looks the
 * same, an operator has to decide, and it refuses nothing.
 *
 * What a process never read, or read before it was restarted, it cannot miss.
 */
export const layer = (options?: { readonly capacity?: number }): Layer.Layer<
  ConnectionStore,
  never,
  AuditTrail | ConnectionStore
> =>
  Layer.effect(
    ConnectionStore,
    Effect.gen(function*() {
      const store = yield* ConnectionStore
      const audit = yield* makeAuditing
      const marks = new Map<string, Mark>()
      const most = options?.capacity ?? capacity

      const adopt = (connection: Connection): void => {
        const name = nameOf(connection.key)
        const mark = marks.get(name)
        if (mark === undefined) {
          if (marks.size >= most) marks.delete(marks.keys().next().value!)
          marks.set(name, markOf(connection))
        } else {
          if (mark.epoch !== connection.epoch) end(mark)
          Object.assign(mark, markOf(connection), { former: mark.former })
        }
      }

      /** Most reads end here: they are looked at, and make nothing new. */
      const isExpected = (connection: Connection): boolean => {
        const mark = marks.get(nameOf(connection.key))
        if (mark?.epoch === connection.epoch && mark.generation === connection.generation) return true
        if (mark !== undefined && isOlder(connection, mark)) return isEnded(connection)
        adopt(connection)
        return true
      }

      const raise = Effect.fnUntraced(function*(connection: Connection) {
        const { generation, key } = connection
        // Whatever it is now is where this process goes on from, so one rollback is one alarm.
        marks.set(nameOf(key), markOf(connection))
        yield* Effect.logError("a stored connection went back to an older state", {
          code: "rollback_detected",
          server: key.server,
          generation
        })
        yield* Metric.update(Instruments.rollbacks, 1)
        yield* audit(key, "connection.rolled_back", "rollback_detected", generation)
      })

      /** Notes the end of a life, unless another has been read since. */
      const endLife = (key: ConnectionKey, epoch: Epoch | undefined) =>
        Effect.sync(() => {
          const mark = marks.get(nameOf(key))
          if (mark !== undefined && mark.epoch === epoch) end(mark)
        })

      /**
       * Reads may overtake each other on their way here, so the row is read once more: a read that began after the mark
       * was made cannot be older than it.
       */
      const examine = Effect.fnUntraced(function*(key: ConnectionKey) {
        const again = yield* store.get(key)
        const mark = marks.get(nameOf(key))
        if (Option.isNone(again) || mark === undefined) return
        if (!isOlder(again.value, mark)) adopt(again.value)
        else if (!isEnded(again.value)) yield* raise(again.value)
      })

      return ConnectionStore.of({
        ...store,
        get: (key) =>
          Effect.flatMap(store.get(key), (found): Effect.Effect<Option.Option<Connection>, StoreError> => {
            if (found._tag === "Some") {
              return isExpected(found.value) ? Effect.succeed(found) : Effect.as(examine(key), found)
            }
            const mark = marks.get(nameOf(key))
            if (mark !== undefined) end(mark)
            return Effect.succeed(found)
          }),
        commit: (key, input) =>
          Effect.tap(store.commit(key, input), (committed) =>
            Effect.sync(() => {
              const mark = marks.get(nameOf(key))
              if (committed && mark?.epoch === input.epoch) {
                mark.generation = Math.max(mark.generation, input.generation + 1)
              }
            })),
        disconnect: (key, epoch) =>
          Effect.suspend(() => {
            const before = marks.get(nameOf(key))?.epoch
            return Effect.tap(store.disconnect(key, epoch), (ended) => ended ? endLife(key, before) : Effect.void)
          }),
        forget: (key, input) =>
          Effect.tap(store.forget(key, input), (gone) => gone ? endLife(key, input.epoch) : Effect.void)
      })
    })
  )

/** A key as one string, for less than its `path` costs: this is done at every read. A slug has no slash. */
const nameOf = ({ server, subject, tenant }: ConnectionKey): string => `${server}/${tenant.length}/${tenant}${subject}`

/** Notes that the life which a mark stands for is over. */
const end = (mark: Mark): void => {
  if (mark.epoch === undefined) return
  mark.former = [mark.epoch, ...mark.former].slice(0, remembered)
  mark.epoch = undefined
}

const markOf = ({ epoch, generation, updatedAt }: Connection): Mark => ({
  epoch,
  generation,
  updatedAt: updatedAt.epochMilliseconds,
  former: []
})

/** A row without secrets: whatever age it has, nothing of an older state is in use. */
const isEnded = ({ status }: Connection): boolean => status._tag === "revoking"

const isOlder = ({ epoch, generation, updatedAt }: Connection, mark: Mark): boolean =>
  mark.epoch === epoch
    ? generation < mark.generation
    : mark.former.includes(epoch) || updatedAt.epochMilliseconds < mark.updatedAt
